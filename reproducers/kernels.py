# SPDX-License-Identifier: GPL-2.0
"""Fetch the images of Debian's stock kernels."""

import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from guests import Arch, Trouble, need

# Which suites have kernels of a series.  The newest of all is taken.
SERIES = {
    '6.1': ('bookworm', 'bookworm-security'),
    '6.12': ('trixie', 'trixie-security', 'bookworm-security'),
    '7.2': ('trixie-backports', 'sid'),
    '7.3': ('trixie-backports', 'sid'),
}


class Absent(Trouble):
    """Debian has no kernel of that series for the architecture: nothing is wrong."""


@dataclass(frozen=True)
class Package:
    """A binary package with a kernel image."""
    name: str
    version: str
    suite: str
    arch: Arch

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(n) for n in re.findall(r'\d+', self.version))

    @property
    def kernel_org(self) -> str:
        """The version of kernel.org that it was made of."""
        return self.version.rsplit('-', 1)[0]


def command(*words: str | Path, cwd: Path | None = None) -> str:
    """Standard output; Trouble with its first error, or the last line of what it said, if it fails."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, cwd=cwd,
                          env={**os.environ, 'LC_ALL': 'C'})
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ['it said nothing']
        raise Trouble(f'{words[0]} failed: {next((line for line in said if line.startswith("E: ")), said[-1])}')
    return done.stdout


class Archive:
    """apt on lists and caches of its own, for any suite and architecture, from the machine's own mirror."""

    def __init__(self, cache: Path):
        need('apt-get', 'apt-cache', 'dpkg-deb')
        self.cache = cache / 'apt'
        self.fresh: dict[tuple[str, str], list[str]] = {}
        self.failed: dict[tuple[str, str], str] = {}

    def uri(self, suite: str) -> str:
        """The mirror that the machine itself uses; for security suites, of the security archive."""
        own = dict(line.split('=', 1) for line in Path('/etc/os-release').read_text().splitlines() if '=' in line)
        name = own.get('VERSION_CODENAME', '').strip('"') + ('-security' if suite.endswith('-security') else '')
        known = command('apt-get', 'indextargets', '--format', '$(REPO_URI)', f'Codename: {name}').split()
        if not known:
            raise Trouble(f'apt has no lists of {name} yet; run apt-get update once')
        return sorted(known)[0]

    def options(self, suite: str, arch: str) -> list[str]:
        """Options of apt for that suite, whose lists are fetched once a run."""
        key = (suite, arch)
        if key in self.failed:
            raise Trouble(self.failed[key])
        if key not in self.fresh:
            state = self.cache / f'{suite}-{arch}'
            for part in ('lists/partial', 'cache/archives/partial', 'parts', 'debs'):
                (state / part).mkdir(parents=True, exist_ok=True)
            (state / 'sources.list').write_text(f'deb {self.uri(suite)} {suite} main\n')
            options = [f'-oDir::Etc::sourcelist={state}/sources.list', f'-oDir::Etc::sourceparts={state}/parts',
                       f'-oDir::State::Lists={state}/lists', f'-oDir::Cache={state}/cache', f'-oAPT::Architecture={arch}',
                       f'-oAPT::Architectures={arch}', '-oAPT::Sandbox::User=root']
            try:
                command('apt-get', '-q', *options, '-oAPT::Update::Error-Mode=any', 'update')
            except Trouble as trouble:
                self.failed[key] = f'{suite} for {arch}: {trouble}'
                raise Trouble(self.failed[key]) from trouble
            self.fresh[key] = options
        return self.fresh[key]

    def newest(self, series: str, arch: Arch) -> Package:
        """The newest kernel of a series in all of its suites."""
        found: list[Package] = []
        notes: list[str] = []
        pattern = re.compile(rf'linux-(binary|image)-{re.escape(series)}\.\S*-{arch.flavour}$')
        plain = re.compile(rf'{re.escape(series)}\.[0-9.+~a-z-]*-{arch.flavour}$')
        for suite in SERIES[series]:
            try:
                options = self.options(suite, arch.debian)
            except Trouble as trouble:
                notes.append(str(trouble))
                continue
            for name in command('apt-cache', *options, 'pkgnames', 'linux-').split():
                if pattern.match(name) and plain.match(name.split('-', 2)[2]):
                    shown = command('apt-cache', *options, '--no-all-versions', 'show', name)
                    version = re.search(r'^Version: (\S+)', shown, re.M)
                    found.append(Package(name, version.group(1), suite, arch) if version else
                                 Package(name, '0', suite, arch))
        if not found and not notes:
            raise Absent(f'Debian has no kernel {series} for {arch.name}')
        if not found:
            raise Trouble(f'no kernel {series} for {arch.name}: {"; ".join(notes)}')
        # since 7.1 the image is in linux-binary-*, and linux-image-* depends on that
        return max(found, key=lambda p: (p.numbers, p.name.startswith('linux-binary-')))

    def image(self, package: Package) -> Path:
        """The kernel image out of the package."""
        state = self.cache / f'{package.suite}-{package.arch.debian}'
        options = self.options(package.suite, package.arch.debian)
        image = state / 'images' / f'{package.name}_{package.version}'
        if image.exists():
            return image
        folder = state / 'debs'
        command('apt-get', '-q', *options, 'download', f'{package.name}={package.version}', cwd=folder)
        debs = list(folder.glob(f'{package.name}_*.deb'))
        if len(debs) != 1:
            raise Trouble(f'apt brought {len(debs)} files for {package.name}; remove {folder}')
        image.parent.mkdir(exist_ok=True)
        partial = image.with_suffix('.partial')
        with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', str(debs[0])], stdout=subprocess.PIPE) as unpack, \
                tarfile.open(fileobj=unpack.stdout, mode='r|') as tar:
            for member in tar:
                if member.isfile() and re.search(r'/vmlinu[xz][^/]*$', member.name):
                    with tar.extractfile(member) as source, partial.open('wb') as target:
                        shutil.copyfileobj(source, target)
        debs[0].unlink()
        if not partial.exists():
            raise Trouble(f'{package.name} has no kernel image in it')
        partial.rename(image)
        return image
