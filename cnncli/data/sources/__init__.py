"""Every data source, in one list. A new source is one class and one word here."""

from __future__ import annotations

from cnncli.data.sources.cifar import Cifar10, Cifar100
from cnncli.data.sources.digits import Digits
from cnncli.data.sources.folder import Folder
from cnncli.data.sources.idx import Idx
from cnncli.data.sources.inline import Inline
from cnncli.data.sources.mnist import FashionMnist, Mnist
from cnncli.data.sources.npz import Npz
from cnncli.data.sources.source import Source
from cnncli.data.sources.synthetic_signals import Signals
from cnncli.spec import one_of

SOURCES: tuple[type[Source], ...] = (Digits, Mnist, FashionMnist, Cifar10, Cifar100, Folder, Npz, Idx, Inline, Signals)

AnySource = one_of(SOURCES)
