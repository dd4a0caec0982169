#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""lint checkpatch: findings, those that topics/checkpatch excuses, and lines that excuse nothing."""

from support import TOP, CommandTest, main, write

LINT = TOP / 'scripts/lint'
EXCUSE = '# TYPE MAIL REASON\nLONG_LINE  one/*-first*  a table\n'


class Checkpatch(CommandTest):
    """checkpatch.pl is a stub that prints the second line of the mail as its finding."""

    def setUp(self):
        super().setUp()
        self.topics = self.work / 'topics'
        self.env['TOPICS'] = str(self.topics)
        write(self.work / 'out/linux/scripts/checkpatch.pl',
              'open(my $mail, "<", $ARGV[-1]); my @lines = <$mail>; print "$ARGV[-1]:7: $lines[1]" if $lines[1]; exit(@lines > 1);\n')
        (self.work / 'out/lint').mkdir()
        write(self.topics / 'checkpatch', EXCUSE)
        write(self.topics / 'one/0001-first.patch', 'a mail\nCHECK:LONG_LINE: line of 120 columns\n')
        write(self.topics / 'one/0002-second.patch', 'a mail\n')

    def test_excused(self):
        self.assertIn('no finding', self.does(LINT, 'checkpatch'))

    def test_another_mail(self):
        write(self.topics / 'one/0002-second.patch', 'a mail\nCHECK:LONG_LINE: line of 120 columns\n')
        self.says(1, r'one/0002-second\.patch:7: CHECK:LONG_LINE', LINT, 'checkpatch')

    def test_another_type(self):
        write(self.topics / 'one/0001-first.patch', 'a mail\nWARNING:TABSTOP: spaces\n')
        self.says(1, r'one/0001-first\.patch:7: WARNING:TABSTOP', LINT, 'checkpatch')

    def test_excuses_nothing(self):
        write(self.topics / 'checkpatch', EXCUSE + 'TABSTOP  one/*-first*  a reason\n')
        self.says(1, r'^topics/checkpatch: TABSTOP one/\*-first\* excuses nothing$', LINT, 'checkpatch')

    def test_checkpatch_that_dies(self):
        write(self.work / 'out/linux/scripts/checkpatch.pl', 'die "gone\\n";\n')
        self.says(1, 'lint: checkpatch.pl fails on .*/0001-first.patch', LINT, 'checkpatch')


if __name__ == '__main__':
    main()
