"""`screen train`: one module a command."""
