"""Every data source, in one list. A source is added by its class and one word here."""

from __future__ import annotations

from cnncli.data.base import Source
from cnncli.data.cifar import Cifar10, Cifar100
from cnncli.data.folder import Folder
from cnncli.data.idx import Idx
from cnncli.data.inline import Inline
from cnncli.data.named import Digits, FashionMnist, Mnist
from cnncli.data.npz import Npz
from cnncli.data.signals import Signals
from cnncli.spec import one_of

SOURCES: tuple[type[Source], ...] = (Digits, Mnist, FashionMnist, Cifar10, Cifar100, Folder, Npz, Idx, Inline, Signals)

AnySource = one_of(SOURCES)
