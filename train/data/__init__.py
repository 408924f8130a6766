"""Films, labels and everything that is made of them before a network sees it."""
