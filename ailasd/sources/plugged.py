"""The source of what is plugged in: each kind of medium is read in its own way."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ailasd.cards import MediumKind
from ailasd.sources.card import MountedCard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ailasd.cards import Medium
    from ailasd.cards.mounting import Mounting
    from ailasd.sources import Source

    Known = Callable[[str], Iterable[tuple[str, int, int]]]


@contextmanager
def opened(
    medium: Medium, mounting: Mounting, *, still_there: Callable[[Medium], bool], set_clock: bool, known: Known
) -> Iterator[Source]:
    """Make a medium readable as long as the context lasts; after it, it may be pulled out.

    Args:
        medium: without a ``problem``.
        mounting: for cards.
        still_there: whether a card is in its reader still.
        set_clock: set a GoPro's clock.
        known: identity of a card -> its files that we have: a GoPro need not be asked for their sizes.

    Raises:
        AilasdError: it cannot be read; a sentence that names the way out.
    """
    if medium.kind is MediumKind.CARD:
        with mounting.mounted(medium) as root:
            yield MountedCard(root, partial(mounting.writable, medium), partial(still_there, medium))
    elif medium.kind is MediumKind.PTP:
        from ailasd.sources.ptp import PtpSource  # noqa: PLC0415  (an extra, and 10 MB)

        with closing(PtpSource(medium.node)) as camera:
            yield camera
    else:
        from ailasd.sources.gopro import GoProSource  # noqa: PLC0415

        with closing(GoProSource(medium.node, medium.serial, set_clock=set_clock, known=known)) as gopro:
            yield gopro
