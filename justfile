# One word for each thing that .ci/run does. `just` comes with the extra 'dev'; `just --list` shows the words.

venv := ".venv"
bin := venv / "bin"

# All that must hold before a change is merged.
check: lint types test

# The tests, or some of them: just test tests/screen/readers -k palette
test *arguments:
    {{ bin }}/pytest {{ arguments }}

# Style and common mistakes; changes nothing.
lint:
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .

# Types, in strict mode.
types:
    {{ bin }}/mypy

# Mend what `lint` complains of, as far as a machine can.
format:
    {{ bin }}/ruff check --fix .
    {{ bin }}/ruff format .

# The page of figures, held against what made them; every link, option and command line in the docs.
docs:
    {{ bin }}/pytest tests/test_docs.py tests/test_figures.py tests/test_command_lines.py
