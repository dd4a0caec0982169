# SPDX-License-Identifier: GPL-2.0
"""Verdicts and the reasons for them. Nothing here or in the judges depends on the wording of a message."""

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """Seven different things. Of a guest as a whole PASS means: it booted, ran its job and ended."""
    PASS = 'PASS'               # the test said so, its section and plan are complete
    FAIL = 'FAIL'               # likewise
    SKIP = 'SKIP'               # likewise
    SPLAT = 'SPLAT'             # the kernel complained while the test ran
    PANIC = 'PANIC'             # the kernel panicked before the test was done
    TIMEOUT = 'TIMEOUT'         # the guest, or the test in it, was ended after its limit
    NO_RESULT = 'NO-RESULT'     # anything else: absent, cut off, plan not kept, failed by another assertion


class Reason(Enum):
    """Why a case, or a row of a table, has the verdict it has."""
    SAID = 'the test said so'
    DIRECTIVE = 'the result has the directive XFAIL, XPASS or TODO'
    KERNEL_SPLAT = 'the kernel complained while the test ran'
    SAID_NOTHING = 'the test printed no result'
    CUT_OFF = 'the output was cut off'
    PLAN = 'the plan or the exit status does not fit the results'
    NOT_IN_LOG = 'the kernel log lacks the section'
    RAN_TWICE = 'the case ran twice'
    LIMIT = 'ended after its limit'
    NOT_REACHED = 'the guest ended before the case'
    NOT_IN_GUEST = 'the guest has no such case'
    NOT_ON_BASE = 'base lacks what the case calls'
    OTHER_ASSERTION = 'failed by another assertion than the named one'
    OTHER_SPLAT = 'the kernel said something else than expected'
    SPLAT_IN_SKIP = 'the kernel complained in a test that was skipped'
    CLEAN_NOT_PASSED = 'the case does not pass without a mutant'
    SURVIVED = 'the case passes with the mutant'
    CAUGHT = 'the case fails by the named assertion'
    CAUGHT_BY_KERNEL = 'the kernel says what the mutant names'
    CAUGHT_THEN_PANIC = 'the kernel says what the mutant names, and panics'
    CAUGHT_AT_BOOT = 'the kernel says what the mutant names as it boots'
    THEN_PANIC = 'the kernel complained as expected, and panicked'
    KNOWN = 'the base does not pass it either'
    NEW = 'the base does better'
    OVER_LIMIT = 'over the limit'
    UNEXPECTED = 'not as expected'
    EXPECTED = 'as expected'


class Outcome(Enum):
    """How a row counts in the totals. STALE counts as failed: the result is not of today's inputs.
    KNOWN does not count: the tree's own test does not pass on the base either."""
    PASSED = 'passed'
    FAILED = 'failed'
    SKIPPED = 'skipped'
    STALE = 'stale'
    KNOWN = 'known'


@dataclass(frozen=True)
class CaseResult:
    """The result of one case in one guest."""
    verdict: Verdict
    reason: Reason = Reason.SAID
    said: Verdict = Verdict.NO_RESULT       # the test's own word
    assertions: tuple[str, ...] = ()        # the failed assertions, each as one text
    splat: str = ''                         # the kernel's message, with the line before it
    note: str = ''

    @property
    def is_good(self) -> bool:
        return self.verdict in (Verdict.PASS, Verdict.SKIP)

    def failed_by(self, assertion: str) -> bool:
        """Did the case fail, and first by this assertion?"""
        return self.verdict is Verdict.FAIL and bool(self.assertions) and assertion in self.assertions[0]

    def splat_has(self, text: str) -> bool:
        """Did the kernel complain in this case, first by this text?"""
        return self.verdict is Verdict.SPLAT and text in self.splat
