"""The words of a link that have a short form and a long one: jitter, loss, an AQM; and a trace's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, create_model
from pydantic_core import core_schema

from testbed import traces
from testbed.aqms import AQM_OPTIONS
from testbed.impairments import Aqm, Jitter, gilbert_elliott, mean_loss
from testbed.job import Loss
from testbed.model.fields import Model, OfFile, Probability, SomeSize, SomeTime, probability, wrong, wrongs
from testbed.refusal import Wrong, quoted, suggestion
from testbed.traces import TraceFile
from testbed.units import Duration, Quantity, Share, UnitError

_JITTER_MOST = Duration.parse("2.147s")  # netem's tabledist() takes 32 bits of nanoseconds, one the sign


class JitterWords(Model):
    """How the delay varies."""

    by: Duration = Field(
        examples=["2ms"], description="uniform: the most it varies either way; else the standard deviation"
    )
    distribution: Literal["uniform", "normal", "pareto", "paretonormal"] | None = Field(
        None, description="as tc-netem(8) has them; uniform where nobody says"
    )
    correlation: Share | None = Field(
        None, examples=["25%"], description="how much a packet's delay takes over from the last one's"
    )

    def value(self) -> Jitter:
        """Both forms' value."""
        correlation = None if self.correlation is None else float(self.correlation)
        return _jitter(self.by, self.distribution, correlation)


class GilbertElliott(Model):
    """Bursts of losses, as a link with a good and a bad state has them (Gilbert, 1960; Elliott, 1963).

    Either by its probabilities, `p` and `r`, or by what one measures, `mean` and `burst`.
    """

    model: Literal["gilbert-elliott"] = Field(examples=["gilbert-elliott"])
    p: Probability | None = Field(None, examples=["0.1%"], description="at each packet, from good to bad")
    r: Probability | None = Field(None, examples=["25%"], description="at each packet, from bad to good")
    bad: Probability = Field(Share(1), description="lost in the bad state")
    good: Probability = Field(Share(0), description="lost in the good state", examples=["0.01%"])
    mean: Share | None = Field(None, description="of all packets that are lost")
    burst: float | None = Field(
        None,
        ge=1,
        le=1_000_000,
        allow_inf_nan=False,
        examples=[4],
        description="mean number of packets lost in a row",
    )

    def value(self) -> Loss:
        """The model with its four probabilities."""
        if self.mean is not None and self.burst is not None:
            twice = [name for name in ("p", "r", "bad", "good") if name in self.model_fields_set]
            if twice:
                what = f"mean and burst say already what {twice[0]} says"
                raise wrongs(
                    wrong(Wrong(what, f"delete {' and '.join(twice)}", on_key=True), (twice[0],), None)
                )
            if self.mean >= 1:
                raise wrongs(wrong(_everything(), ("mean",), self.mean))
            try:
                return _lossy(gilbert_elliott(float(self.mean), self.burst))
            except ValueError as problem:
                raise wrongs(
                    wrong(Wrong(str(problem), "write less, or longer bursts"), ("mean",), self.mean)
                ) from None
        if self.p is None or self.r is None or self.mean is not None or self.burst is not None:
            hint = "write {model: gilbert-elliott, mean: 1%, burst: 4}, or p and r"
            raise Wrong("says neither p and r nor mean and burst", hint)
        _reached(self, "p", "r")
        probabilities = (float(self.p), float(self.r), float(self.bad), float(self.good))
        return _lossy(Loss(model="gilbert-elliott", parameters=probabilities))


class FourState(Model):
    """Losses in bursts and alone, by the chain of Salsano et al. (2009), see tc-netem(8).

    A packet is 1 received in a gap, 2 received in a burst, 3 lost in a burst, 4 lost in a gap; `p13` is
    the probability that 3 follows on 1.
    """

    model: Literal["4-state"] = Field(examples=["4-state"])
    p13: Probability = Field(examples=["0.1%"], description="a burst begins")
    p31: Probability = Field(examples=["30%"], description="a burst ends after a loss")
    p32: Probability = Field(Share(0), examples=["10%"], description="inside a burst, from lost to received")
    p23: Probability = Field(Share(1), examples=["80%"], description="inside a burst, from received to lost")
    p14: Probability = Field(Share(0), examples=["0.01%"], description="a single loss in a gap")

    def value(self) -> Loss:
        """The model with its five probabilities."""
        for one, other in (("p13", "p14"), ("p31", "p32")):
            if getattr(self, one) + getattr(self, other) > 1 + 1e-12:
                what = f"{one} and {other} together are more than 100%"
                raise wrongs(wrong(Wrong(what, "write less for one of them"), (other,), None))
        _reached(self, "p31", *(["p23"] if self.p32 else []))
        probabilities = tuple(float(getattr(self, name)) for name in ("p13", "p31", "p32", "p23", "p14"))
        return _lossy(Loss(model="4-state", parameters=probabilities))


def _reached(model: Model, *names: str) -> None:
    for name in names:
        if not getattr(model, name):
            what = "0% would leave the chain of losses in one state for ever"
            raise wrongs(wrong(Wrong(what, "write more, or loss: 0%"), (name,), 0))


def _everything() -> Wrong:
    return UnitError(
        "100% lets nothing through", "write less; link-down is the fault for that", Share.example
    )


def _lossy(loss: Loss) -> Loss:
    if mean_loss(loss) >= 1:
        raise _everything()
    return loss


def _jitter(by: Duration, distribution: str | None = None, correlation: float | None = None) -> Jitter:
    if by > _JITTER_MOST:
        hint = f"write at most {_JITTER_MOST.shown()}"
        raise UnitError(f"netem cannot jitter by {by.shown()}", hint, by.example)
    return Jitter(by_ns=int(by), distribution=distribution, correlation=correlation)


def _aqm(name: object) -> Aqm:
    if not isinstance(name, str) or name not in AQM_OPTIONS:
        raise Wrong(f"{quoted(name)} is no AQM", suggestion(str(name), AQM_OPTIONS, "write fq_codel"))
    return Aqm(kind=name)


_OPTION_TYPES: dict[str, Any] = {
    "duration": SomeTime,
    "size": SomeSize,
    "share": Probability,
    "count": Annotated[int, Field(ge=1, lt=2**31)],
}
_OPTIONS_ABOUT = {
    "target": "how long packets may wait for good",
    "interval": "for how long they may wait longer than that before the first is dropped",
    "quantum": "what a flow may send in its turn",
    "flows": "queues that flows are spread over",
    "ce_threshold": "whoever waited longer is marked",
    "memory_limit": "memory for all that waits",
    "drop_batch": "packets dropped at once when there is no more room",
    "tupdate": "how often the probability to drop is computed",
    "alpha": "how much it follows the wait",
    "beta": "how much it follows the change of the wait",
    "min": "mean queue from which on packets are marked or dropped",
    "max": "mean queue at which that has its full probability",
    "avpkt": "an ordinary packet",
    "burst": "packets that may come at once",
    "probability": "to be marked or dropped, at most",
    "rtt": "round trip that it is made for",
}


class AqmWords(Model):
    """What all AQMs have in common."""

    kind: str

    def value(self) -> Aqm:
        """The AQM with the options that were given."""
        options = {
            option: getattr(self, option)
            for option in AQM_OPTIONS[self.kind]
            if getattr(self, option) is not None
        }
        if options.get("min", 0) > options.get("max", options.get("min", 0)):
            what = f"{options['min'].shown()} is more than max: {options['max'].shown()}"
            raise wrongs(wrong(Wrong(what, "write less than max"), ("min",), None))
        plain = {
            name: float(value) if isinstance(value, float) else int(value) for name, value in options.items()
        }
        return Aqm(kind=self.kind, options=plain)


def _aqm_model(kind: str) -> type[AqmWords]:
    fields: dict[str, Any] = {"kind": (Literal[kind], Field(examples=[kind]))}
    for option, quantity in AQM_OPTIONS[kind].items():
        about = _OPTIONS_ABOUT.get(option)
        fields[option] = (_OPTION_TYPES[quantity] | None, Field(None, description=about))
    made: type[AqmWords] = create_model(
        f"Aqm_{kind}",
        __base__=AqmWords,
        __doc__=f"The AQM {kind} with its options, as tc-{kind}(8) explains them; others are the kernel's.",
        **fields,
    )
    return made


@dataclass(frozen=True)
class Written:
    """Marks a field as what a short form says, or a mapping for who has more to say.

    Both become a `made`; where there are several mappings, the key `tag` says which.
    """

    made: type
    short: Callable[[object], Any]
    short_schema: dict[str, Any] = field(hash=False)
    long: Mapping[str, type[Model]] = field(hash=False)
    tag: str = ""

    def read(self, value: object) -> Any:
        """The value of either form; one that is made already is as good."""
        if isinstance(value, self.made):
            return value
        if not isinstance(value, dict):
            return self.short(value)
        return self._model(value).model_validate(value).value()  # type: ignore[attr-defined]

    def _model(self, value: Mapping[str, Any]) -> type[Model]:
        if not self.tag:
            return next(iter(self.long.values()))
        among = f"write {self.tag}: and one of {', '.join(self.long)}"
        if self.tag not in value:
            raise wrongs(wrong(Wrong("is missing", among), (self.tag,), value))
        said = value[self.tag]
        if not isinstance(said, str) or said not in self.long:
            what = f"{quoted(said)} is not possible here"
            raise wrongs(wrong(Wrong(what, suggestion(str(said), self.long, among)), (self.tag,), said))
        return self.long[said]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mappings = [handler(model.__pydantic_core_schema__) for model in self.long.values()]
        return {"anyOf": [self.short_schema, *mappings]}


def _loss(value: object) -> Loss:
    return Loss(parameters=(float(probability(value)),))


def _some_pass(value: object) -> Loss:
    return _lossy(_loss(value))


def _schema(quantity: type[Quantity]) -> dict[str, Any]:
    return quantity.__get_pydantic_json_schema__(None, None)


_LOSSES: dict[str, type[Model]] = {"gilbert-elliott": GilbertElliott, "4-state": FourState}
_JITTER = Written(Jitter, lambda value: _jitter(Duration.parse(value)), _schema(Duration), {"": JitterWords})
_AQM = Written(
    Aqm, _aqm, {"enum": list(AQM_OPTIONS)}, {kind: _aqm_model(kind) for kind in AQM_OPTIONS}, "kind"
)

JitterWord = Annotated[Jitter, _JITTER]
LossWord = Annotated[Loss, Written(Loss, _some_pass, _schema(Share), _LOSSES, "model")]
AnyLossWord = Annotated[Loss, Written(Loss, _loss, _schema(Share), _LOSSES, "model")]  # a fault may lose all
AqmWord = Annotated[Aqm, _AQM]
TraceWord = Annotated[TraceFile, OfFile(TraceFile, traces.named)]
