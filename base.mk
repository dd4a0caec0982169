# SPDX-License-Identifier: GPL-2.0
# What the series applies to. Read by make and, as plain assignments, by sh.
BASE_VERSION=7.3.4
BASE_TAG=v7.3.4
BASE_GIT=https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git
BASE_PACKAGE=linux-source-7.3
BASE_PACKAGE_VERSION=7.3.4-1~bpo13+1
BASE_SUITE=trixie-backports
BASE_TARBALL=linux-source-7.3.tar.xz
BASE_DEB_SHA256=703e369ddd4cce971452f5a593ee55df3a5c10c83caf0fa0df039633ed181ee3
BASE_TARBALL_SHA256=76df1affb19f24926949369be1d74b60071c963c598ce8780bddd4bbf0fc3bc4
