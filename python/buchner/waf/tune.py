"""The smallest exclusions that free requests that are no attacks, from traffic in detect mode."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buchner.waf.exclusion import Exclusion
from buchner.waf.explain import FIRST_ID, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from buchner.waf.record import Record

EVERYWHERE = 5
"""A rule and variable that are wrong on more paths than this are excluded on all."""
_THRESHOLD = 5


@dataclass(frozen=True, slots=True)
class Proposal:
    """Exclusions that belong together: each alone would free fewer requests, or none."""

    exclusions: tuple[Exclusion, ...]
    freed: int
    """Requests that are below the threshold with these, after those of the proposals before."""
    clients: int
    """Addresses that these came from."""
    example: str
    """The id of one of them."""


@dataclass(slots=True)
class _Request:
    """A request above its threshold: points by exclusion."""

    record: Record
    threshold: int
    points: dict[Exclusion, int]
    rest: int

    def lacks(self, chosen: set[Exclusion]) -> list[Exclusion]:
        """The exclusions, dearest first, that bring it below its threshold together with those chosen."""
        left = {one: points for one, points in self.points.items() if one not in chosen}
        score = self.rest + sum(left.values())
        needed = []
        for one in sorted(left, key=lambda one: (-left[one], one)):
            if score < self.threshold:
                break
            score -= left[one]
            needed.append(one)
        return needed if score < self.threshold else []

    def free(self, chosen: set[Exclusion]) -> bool:
        return self.rest + sum(points for one, points in self.points.items() if one not in chosen) < self.threshold


def tune(records: Iterable[Record], *, least: int = 2) -> tuple[list[Proposal], int, int]:
    """Propose exclusions, those that free most requests an exclusion first.

    Args:
        records: The audit log.
        least: A proposal has to free at least so many requests.

    Returns:
        The proposals, the requests above their threshold, and how many of them no proposal frees.
    """
    waiting = _requests(list(records))
    total, chosen, found = len(waiting), set[Exclusion](), list[Proposal]()
    while bundle := _best(waiting, chosen, least):
        chosen |= set(bundle)
        freed = [request for request in waiting if request.free(chosen)]
        waiting = [request for request in waiting if not request.free(chosen)]
        clients = {request.record.client for request in freed}
        found.append(Proposal(bundle, len(freed), len(clients), freed[0].record.id))
    return found, total, len(waiting)


def _best(waiting: list[_Request], chosen: set[Exclusion], least: int) -> tuple[Exclusion, ...]:
    bundles = Counter(tuple(sorted(request.lacks(chosen))) for request in waiting)
    best: tuple[Exclusion, ...] = ()
    best_share = 0.0
    for bundle in sorted(bundles):
        if not bundle:
            continue
        wanted = chosen | set(bundle)
        # What a smaller bundle lacks, a larger one has too.
        freed = sum(count for other, count in bundles.items() if other and set(other) <= wanted)
        share = freed / len(bundle)
        if freed >= least and share > best_share:
            best, best_share = bundle, share
    return best


def _requests(records: list[Record]) -> list[_Request]:
    paths: defaultdict[Exclusion, set[str]] = defaultdict(set)
    for record in records:
        for match in record.counted:
            paths[Exclusion.of(match)].add(record.path)
    found = []
    for record in records:
        if not record.would_block:
            continue
        points: Counter[Exclusion] = Counter()
        for match in record.counted:
            if match.points and match.phase in (0, 1, 2):
                wide = Exclusion.of(match)
                narrow = Exclusion.of(match, record.path)
                points[wide if len(paths[wide]) > EVERYWHERE or not narrow.scoped else narrow] += match.points
        threshold = record.scores.inbound_threshold or _THRESHOLD
        rest = max(0, record.scores.inbound - points.total())
        if points.total() + rest >= threshold:
            found.append(_Request(record, threshold, dict(points), rest))
    return found


def lines(proposals: list[Proposal], total: int, left: int) -> Iterator[str]:
    """The proposals as two files of rules, with what each frees as comments."""
    yield f"# {total} requests reach the threshold; these exclusions free {total - left} of them."
    if left:
        yield f"# {left} are left: attacks, or too few of a kind."
    number = FIRST_ID
    for before in (True, False):
        where = "before" if before else "after"
        shown = [proposal for proposal in proposals if any(one.before is before for one in proposal.exclusions)]
        if shown:
            yield f"\n# ---- a file {where} the Core Rule Set"
        for proposal in shown:
            whole = "" if all(one.before is before for one in proposal.exclusions) else ", together with the other file"
            addresses = f"{proposal.clients} address{'es' if proposal.clients != 1 else ''}"
            yield f"\n# frees {proposal.freed} requests of {addresses}{whole}; one is {printable(proposal.example)}"
            if proposal.clients == 1:
                yield "# all are of one address: make sure that they are no attack"
            for one in proposal.exclusions:
                if one.before is before:
                    yield one.text(number)
                    number += one.before
