"""One module per command of `screen train`. Importing one loads click and nothing heavy."""
