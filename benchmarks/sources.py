"""The films of a measurement: found as `screen run` finds them, read once before, thinned out evenly."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from screen.discover import Source, discover
from screen.film import Film
from screen.readers import read


def sources_in(inputs: Sequence[Path]) -> list[Source]:
    """All files below `inputs`, now in the page cache: none of the parts that follow waits for the disk.

    Raises click.ClickException if there is none.
    """
    sources = list(discover(inputs, None))
    if not sources:
        raise click.ClickException(f"{inputs[0]}: no file to measure with")
    for source in sources:
        with suppress(OSError), source.open() as stream:
            while stream.read(1 << 20):
                pass
    return sources


def thinned(sources: Sequence[Source], count: int) -> list[Source]:
    """At most `count` of them, from everywhere."""
    count = min(count, len(sources))
    return [sources[index * len(sources) // count] for index in range(count)]


def films(sources: Sequence[Source], count: int) -> Iterator[Film]:
    """The first `count` that are films at all."""
    found = 0
    for source in sources:
        film = read(source)
        if isinstance(film, Film):
            yield film
            found += 1
            if found == count:
                return
