"""A GPU that is none: tensors say that they are on "cuda", and the CPU computes them, so that code takes its GPU path.

    with SimulatedGpu() as gpu:
        codec = load_codec("base")
        codec.analyse(pictures, 40)
    print(gpu.waits)

It notes what the host would wait for: values and shapes that depend on values, and copies between the device and memory
that is not pinned or that the caller wants done at once. What is copied to the host without waiting is there only after
the next wait, as on a GPU. Operators may be told to a listener. Times on it mean nothing, and numbers may differ from
those of a GPU in their last bits.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from model.codec import Codec

_ATEN = torch.ops.aten
DEVICE = "cuda:0"
"""With its number: a torch without CUDA cannot tell which GPU is the current one."""
_READ_BY_THE_HOST = {
    _ATEN._local_scalar_dense,
    _ATEN.equal,
    _ATEN.nonzero,
    _ATEN.masked_select,
    _ATEN._unique2,
    _ATEN.unique_dim,
    _ATEN.unique_consecutive,
    _ATEN.repeat_interleave,
    _ATEN.bincount,
}
"""Operators with a result, or a shape of a result, that the host has to read."""
_COPIES = {_ATEN._to_copy, _ATEN.copy_}
_INDEXED = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_}
_GARBAGE = 77
"""Value of memory whose copy is on its way."""

Listener = Callable[[Any, list[Tensor], list[Tensor]], None]
"""Called with an operator and the tensors on the device that it reads and writes; not with views."""


class OnDevice(Tensor):
    """A tensor that says it is on the GPU; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":  # noqa: D102
        # For torch's own code it is on "meta", which has no memory: "cuda" would take a torch that knows CUDA.
        facts: dict[str, Any] = {"dtype": held.dtype, "device": "meta"}
        made: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, held.stride(), held.storage_offset(), **facts
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The GPU."""
        return torch.device(DEVICE)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func} of a simulated GPU outside of its block")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.held})"


def load_codec(model: str | Path) -> Codec:
    """A codec on the simulated GPU, within its block."""
    with torch.inference_mode():  # where its methods run: torch allows no mixture for tensors of Python classes
        return Codec.load(model, device=DEVICE)


class SimulatedGpu:
    """Within a `with` block, torch has a GPU.

    Attributes:
        waits: what the host waited for, in order.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self.waits: list[str] = []
        self._mode = _Mode(self.waits, listener)
        self._block = ExitStack()

    def __enter__(self) -> "SimulatedGpu":
        replaced: dict[str, Any] = {
            "is_available": lambda: True,
            "is_bf16_supported": lambda **_: True,
            "current_stream": lambda *_: mock.Mock(synchronize=lambda: self._mode.wait("synchronize")),
            "_lazy_init": lambda: None,
        }
        for name, value in replaced.items():
            self._block.enter_context(mock.patch.object(torch.cuda, name, value))
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(values, device=...)` then is a copy that is seen
        self._block.callback(torch._C._set_only_lift_cpu_tensors, False)
        self._block.enter_context(self._mode)
        return self

    def __exit__(self, *error: object) -> None:
        self._block.close()


class _Mode(TorchDispatchMode):
    """Runs every operator of torch on what the tensors hold."""

    def __init__(self, waits: list[str], listener: Listener | None) -> None:
        super().__init__()
        self._waits, self._listener = waits, listener
        self._pinned: list[Any] = []  # storages, kept alive, so that no other gets their address
        self._on_their_way: list[tuple[Tensor, Tensor]] = []

    def wait(self, reason: str) -> None:
        """The host waits for the device: what was to be copied is there."""
        self._waits.append(reason)
        for to, values in self._on_their_way:
            to.copy_(values)
        self._on_their_way.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = dict(kwargs or {}), func.overloadpacket
        if packet is _ATEN.is_pinned:
            return self._is_pinned(args[0])
        if packet not in _READ_BY_THE_HOST:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        pins = kwargs.pop("pin_memory", None)
        goes_to = self._goes_to(packet, args, kwargs)
        self._note_waits(packet, args, kwargs, goes_to)
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        plain, options = tree_map_only(OnDevice, lambda x: x.held, (args, kwargs))
        if packet in _COPIES and self._is_late(packet, args, kwargs, goes_to):
            return self._later(func, args, plain, options)
        made = func(*plain, **options)
        if goes_to == "cuda" or list(_on_device((args, kwargs))):
            self._tell(func, args, kwargs, made)
        if pins:
            self._pinned.append(made.untyped_storage())
        return _given_back(func, args, kwargs) if _changes_arguments(func) else _wrapped(made, goes_to == "cuda")

    def _is_pinned(self, x: Tensor) -> bool:
        return any(x.untyped_storage().data_ptr() == storage.data_ptr() for storage in self._pinned)

    def _goes_to(self, packet: Any, args: Any, kwargs: dict[str, Any]) -> str:
        """The kind of device of the result."""
        if packet is _ATEN.copy_:
            return str(args[0].device.type)
        if kwargs.get("device") is not None:
            return torch.device(kwargs["device"]).type
        return "cuda" if list(_on_device((args, kwargs))) else "cpu"

    def _is_late(self, packet: Any, args: Any, kwargs: dict[str, Any], goes_to: str) -> bool:
        """Whether a copy to the host is not waited for."""
        source = args[0] if packet is _ATEN._to_copy else args[1]
        if goes_to != "cpu" or not isinstance(source, OnDevice):
            return False
        return _unblocked(packet, args, kwargs) and (packet is _ATEN._to_copy or self._is_pinned(args[0]))

    def _later(self, func: Any, args: Any, plain: Any, options: dict[str, Any]) -> Tensor:
        """A copy to the host that is there after the next wait."""
        made: Tensor = func(*plain, **options)
        self._on_their_way.append((made, made.clone()))
        made.fill_(_GARBAGE)
        if func.overloadpacket is _ATEN._to_copy:
            self._pinned.append(made.untyped_storage())
        if self._listener is not None:
            self._listener(func, [made], [])
        return args[0] if func.overloadpacket is _ATEN.copy_ else made

    def _note_waits(self, packet: Any, args: Any, kwargs: dict[str, Any], goes_to: str) -> None:
        here = list(_on_device((args, kwargs)))
        if packet in _COPIES:
            source = args[0] if packet is _ATEN._to_copy else args[1]
            comes_from, memory = source.device.type, source
            if comes_from == goes_to:
                return
            if goes_to == "cpu":
                if self._is_late(packet, args, kwargs, goes_to):
                    return
                memory = None
            if memory is None or not (_unblocked(packet, args, kwargs) and self._is_pinned(memory)):
                self.wait(f"a copy from {comes_from} to {goes_to} of {tuple(source.shape)}")
        elif not here:
            return
        elif packet in _READ_BY_THE_HOST:
            self.wait(str(packet))
        elif packet in _INDEXED:
            indices = [x for x in tree_leaves(args[1]) if isinstance(x, Tensor)]
            if any(x.dtype in (torch.bool, torch.uint8) or not isinstance(x, OnDevice) for x in indices):
                self.wait(f"{packet} by a mask, or by indices of the host")
        else:
            apart = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and not isinstance(x, OnDevice)]
            if any(x.dim() for x in apart):
                raise RuntimeError(f"{packet} of tensors on several devices")

    def _tell(self, func: Any, args: Any, kwargs: dict[str, Any], made: Any) -> None:
        """Tell the listener of an operator."""
        if self._listener is None or "empty" in func.overloadpacket.__name__:
            return
        read = [x.held for x in _on_device((args, kwargs))]
        written = [x for x in tree_leaves(made) if isinstance(x, Tensor)]
        if func.overloadpacket is _ATEN.copy_:
            read = [x.held for x in _on_device(args[1])]
        elif not _changes_arguments(func):
            known = {x.untyped_storage().data_ptr() for x in read}
            if read and any(x.untyped_storage().data_ptr() in known for x in written):
                return  # a view
        self._listener(func, read, written)


def _on_device(arguments: Any) -> Iterator[OnDevice]:
    return (x for x in tree_leaves(arguments) if isinstance(x, OnDevice))


def _unblocked(packet: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the caller of a copy does not want to wait for it."""
    return bool(kwargs.get("non_blocking", len(args) > 2 and args[2]))


def _changes_arguments(func: Any) -> bool:
    return bool(func._schema.is_mutable)


def _given_back(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operator that changes an argument returns: that argument."""
    changed = [
        kwargs.get(argument.name, args[i] if i < len(args) else None)
        for i, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return changed[0] if len(changed) == 1 else tuple(changed)


def _wrapped(made: Any, on_device: bool) -> Any:
    return tree_map_only(Tensor, OnDevice, made) if on_device else made
