# SPDX-License-Identifier: GPL-2.0
"""Judge benchmarks: the series against the base, in instructions of the guest."""

from pathlib import Path

from .errors import HarnessError, read_text
from .judgement import Benchmark, Finding, Judgement, guest_findings
from .results import Results
from .sections import Fault
from .topics import Bench, Limit, Topic, bench_variants, check_topic, read_bench
from .verdict import Outcome, Reason

# Below this many instructions a call a ratio says nothing.
NEGLIGIBLE = 10

Values = dict[str, tuple[int, str]]


def bench_values(lines: list[str]) -> Values:
    """'bench NAME VALUE UNIT' lines. A name that comes twice has no value: which of the two is meant?"""
    values: Values = {}
    for line in lines:
        words = line.split()
        if len(words) == 4 and words[0] == 'bench' and words[2].isdigit():
            values[words[1]] = (0, '') if words[1] in values else (int(words[2]), words[3])
    return values


def atomics_values(folder: Path, lines: list[str]) -> Values:
    """What bench/plugin/atomics.c wrote, a line for each call: of each row of bench/gup.c, in their order, the most of a call."""
    calls = [int(line.split()[0]) for line in read_text(folder / 'atomics').splitlines()]
    names = [line.split()[1] for line in lines if line.startswith('bench ')]
    rounds = len(calls) // len(names) if names else 0
    if not rounds or len(calls) != rounds * len(names):
        return {}
    return {f'atomics_{name}': (max(calls[i * rounds:(i + 1) * rounds]), 'atomics') for i, name in enumerate(names)}


class BenchJudge:
    """Judges out/result/bench."""

    def __init__(self, results: Results, topics: dict[str, Topic]):
        self.results, self.request, self.topics = results, results.request, topics
        check_topic(topics, self.request.topic)
        self.judgement = Judgement()
        self.values: dict[tuple[str, str], Values] = {}

    def judge(self) -> Judgement:
        wanted = self.request.topic
        for arch in self.request.archs:
            for variant in bench_variants(self.topics, wanted, self.request.flavour):
                self._read(arch, variant)
        for topic in self.topics.values():
            if wanted in ('', topic.name):
                bench = read_bench(self.topics, topic)
                self.judgement.benchmarks += [self._judge(bench, limit) for limit in bench.limits
                                              if limit.arch in self.request.archs and limit.flavour == self.request.flavour]
        if not self.judgement.benchmarks:
            raise HarnessError(f"no benchmark of topic '{wanted}' on {' '.join(self.request.archs)} "
                               f'of FLAVOUR={self.request.flavour}; see topics/*/bench')
        return self.judgement

    def _read(self, arch: str, variant: str) -> None:
        """The figures of one guest, and its faults."""
        planned = self.results.find(arch, variant)
        guest = self.results.guest(planned, with_tests=False)
        self.judgement.guests.append((planned, guest))
        self.judgement.add_findings(guest_findings(guest))
        self.judgement.add_findings(Finding(guest.name, f'{name} ended with {status} in {guest.name}', Fault.INCONSISTENT)
                                    for name, status in guest.ran.items() if status)
        self.values[arch, variant] = {**bench_values(guest.folder.ktap), **atomics_values(guest.folder.path, guest.folder.ktap)}

    def _stale(self, outcome: Outcome, arch: str, *variants: str) -> Outcome:
        return self.results.outcome(outcome, *(self.results.find(arch, variant).name for variant in variants))

    def _judge(self, bench: Bench, limit: Limit) -> Benchmark:
        if limit.is_ratio:
            return self._judge_ratio(bench, limit)
        name, _, of_base = limit.name.partition(':')
        base, unit = self.values[limit.arch, limit.base].get(of_base or name, (0, ''))
        series, _ = self.values[limit.arch, bench.counted].get(name, (0, ''))
        whole, _ = self.values[limit.arch, 'series'].get(name, (0, ''))
        ratio = series / base if base > 0 and series > 0 and limit.limit != 'equal' else None
        if base <= 0 or series <= 0:
            outcome, reason = Outcome.FAILED, Reason.NOT_IN_GUEST
        elif limit.limit == 'shown':
            outcome, reason = Outcome.PASSED, Reason.EXPECTED
        elif limit.limit == 'equal':
            is_good = base == series
            outcome, reason = (Outcome.PASSED, Reason.EXPECTED) if is_good else (Outcome.FAILED, Reason.UNEXPECTED)
        else:
            is_good = series <= base * float(limit.limit) or series <= base + NEGLIGIBLE
            outcome, reason = (Outcome.PASSED, Reason.EXPECTED) if is_good else (Outcome.FAILED, Reason.OVER_LIMIT)
        return Benchmark(bench.topic, limit.arch, limit.name, limit.limit,
                         self._stale(outcome, limit.arch, limit.base, bench.counted), reason,
                         base or None, series or None, whole or None, unit, ratio, since=limit.since)

    def _judge_ratio(self, bench: Bench, limit: Limit) -> Benchmark:
        factor, _, other = limit.limit.partition('*')
        here, there = self._ratio(limit.arch, bench, limit.name), self._ratio(other, bench, limit.name)
        if here is None or there is None:
            outcome, reason = Outcome.FAILED, Reason.NOT_IN_GUEST
        elif here <= float(factor) * there:
            outcome, reason = Outcome.PASSED, Reason.EXPECTED
        else:
            outcome, reason = Outcome.FAILED, Reason.OVER_LIMIT
        outcome = self._stale(self._stale(outcome, limit.arch, bench.counted), other, bench.counted)
        return Benchmark(bench.topic, limit.arch, limit.name, limit.limit, outcome, reason,
                         ratio=here, other_arch=other, other=there)

    def _ratio(self, arch: str, bench: Bench, names: str) -> float | None:
        """NAME/NAME of the counted kernel on arch, or None."""
        values = self.values.get((arch, bench.counted), {})
        over, under = (values.get(name, (0, ''))[0] for name in names.split('/'))
        return over / under if over > 0 and under > 0 else None


def judge_bench(results: Results, topics: dict[str, Topic]) -> Judgement:
    """Judge out/result/bench."""
    return BenchJudge(results, topics).judge()
