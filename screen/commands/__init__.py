"""One module per command of `screen`. Importing one loads click and nothing heavy."""
