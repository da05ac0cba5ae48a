"""The server as we see it: HTTP in, our values and errors out. Nothing else in ailasd imports httpx.

``client`` asks, ``values`` are what an answer may become, ``trouble`` turns every other answer into one of our
errors, ``body`` streams one picture, ``wire`` opens the sockets; ``claiming`` is how somebody whom it does not know
yet gets a token, ``examining`` what `ailasd doctor` asks. The rules were observed on a real Panoramax 2.15.1;
``tests/test_panoramax_contract.py`` holds them, and the embedded receiver, to such a server.
"""

from ailasd.panoramax.answer import Answer
from ailasd.panoramax.body import SLOWEST
from ailasd.panoramax.claiming import Newcomer, NewToken
from ailasd.panoramax.client import NO_PROGRESS_S, Panoramax
from ailasd.panoramax.trouble import as_error
from ailasd.panoramax.values import (
    Account,
    Collection,
    Instance,
    ItemStatus,
    Listed,
    Received,
    Rejected,
    SetWanted,
    UploadSet,
)

__all__ = [
    "NO_PROGRESS_S",
    "SLOWEST",
    "Account",
    "Answer",
    "Collection",
    "Instance",
    "ItemStatus",
    "Listed",
    "NewToken",
    "Newcomer",
    "Panoramax",
    "Received",
    "Rejected",
    "SetWanted",
    "UploadSet",
    "as_error",
]
