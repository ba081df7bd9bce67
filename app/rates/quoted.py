"""Currencies that a source does not quote: refusals that say why."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date

from app.core.db.snapshots import Snapshot
from app.core.errors import ValidationFailed
from app.rates.in_force import DayKey, Spans, load_spans
from app.sources import reference


async def require_quoted(
    data: Snapshot,
    wanted: Mapping[str, Iterable[str]],
    quoted: Collection[str],
    key: DayKey,
    *,
    first: date | None = None,
) -> None:
    """Refuse currencies that are not quoted.

    Args:
        data: What to say about them.
        wanted: The codes of each parameter.
        quoted: The codes that are quoted.
        key: The source and day that were looked at.
        first: First day of a range that ends at the key's; None for a single day.

    Raises:
        ValidationFailed: A code is not quoted.
    """
    missing = {name: unquoted for name, codes in wanted.items() if (unquoted := sorted({*codes}.difference(quoted)))}
    if not missing:
        return
    spans = await data.read(load_spans)
    raise ValidationFailed({name: _explain(codes, spans, key, first or key.day) for name, codes in missing.items()})


def _explain(codes: Iterable[str], spans: Spans, key: DayKey, first: date) -> str:
    when = f"on {key.day}" if first == key.day else f"from {first} to {key.day}"
    plain, others = [], []
    for code in codes:
        known, span = reference.currencies().get(code), spans.get(key.source, {}).get(code)
        not_quoted = f"{code} is not quoted by {key.source} {when}"
        if known is None and not any(code in quoted for quoted in spans.values()):
            others.append(f"{code} is not a known currency code")
        elif span is not None and span[0] > key.day:
            others.append(f"{not_quoted}; its first rate is of {span[0]}")
        elif successor := reference.current_successor(code):
            others.append(f"{not_quoted}; it was replaced by {successor}")
        elif span is not None and span[1] < first:
            others.append(f"{not_quoted}; its last rate is of {span[1]}")
        else:
            plain.append(code)
    if plain:
        verb = "is" if len(plain) == 1 else "are"
        others.insert(0, f"{', '.join(plain)} {verb} not quoted by {key.source} {when}")
    return ". ".join(others)
