// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU 7.2's TCG: the atomic instructions that GUP-fast executes in each call of gup_test_ioctl().
 *
 *   -plugin atomics.so,map=System.map,out=FILE
 *
 * FILE gets a line for each call: the number, and what each function has of it. The functions are those of
 * System.map that begin with gup_fast, try_grab_folio_fast or try_get_folio, so functions that the compiler puts
 * into these count as well, and those that these call do not. An atomic instruction is one with a lock prefix,
 * or xchg with memory, on x86_64; on arm64 an atomic instruction of LSE, or a store-exclusive.
 *
 * The guest must have one processor, whose kernel runs at the addresses of System.map.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* Of version 1 of QEMU's plugin API, whose header Debian does not package: as much as is used here. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
};

typedef void (*tb_trans_cb)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*insn_exec_cb)(unsigned int vcpu, void *data);
typedef void (*atexit_cb)(uint64_t id, void *data);

enum { QEMU_PLUGIN_CB_NO_REGS };
enum { QEMU_PLUGIN_INLINE_ADD_U64 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, tb_trans_cb cb);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_exec_cb cb, int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *ptr, uint64_t imm);
void qemu_plugin_register_atexit_cb(uint64_t id, atexit_cb cb, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = 1;

#define MAX_FUNCTIONS 64
static struct function {
	char name[64];
	uint64_t start, end;
	uint64_t count;
} functions[MAX_FUNCTIONS];
static int nr_functions;
/* where gup_test_ioctl() begins, and how often it was called */
static uint64_t entry, calls;
static bool (*is_atomic)(const uint8_t *insn, size_t size);
static FILE *out;

static bool is_atomic_x86(const uint8_t *insn, size_t size)
{
	size_t i;

	for (i = 0; i < size && insn[i] && strchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", insn[i]); i++)
		if (insn[i] == 0xf0)
			return true;
	/* REX */
	if (i < size && (insn[i] & 0xf0) == 0x40)
		i++;
	/* xchg: the processor locks it if one operand is in memory */
	return i + 1 < size && (insn[i] | 1) == 0x87 && insn[i + 1] < 0xc0;
}

static bool is_atomic_arm64(const uint8_t *bytes, size_t size)
{
	uint32_t insn;

	if (size != sizeof(insn))
		return false;
	memcpy(&insn, bytes, sizeof(insn));
	/* LDADD, LDCLR, LDEOR, LDSET, LDSMAX ..: the ST forms are these */
	return (insn & 0x3f208c00) == 0x38200000 ||
	       /* SWP */
	       (insn & 0x3f20fc00) == 0x38208000 ||
	       /* CAS, CASP */
	       (insn & 0x3fa07c00) == 0x08a07c00 || (insn & 0xbfa07c00) == 0x08207c00 ||
	       /* STXR and STLXR of one register, and of two */
	       (insn & 0x3fe07c00) == 0x08007c00 || (insn & 0xbfe00000) == 0x88200000;
}

/* The end of a call: its line, if there was one. */
static void end_call(void)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < nr_functions; i++)
		sum += functions[i].count;
	if (calls)
		fprintf(out, "%" PRIu64, sum);
	for (i = 0; i < nr_functions; i++) {
		if (calls && functions[i].count)
			fprintf(out, " %s=%" PRIu64, functions[i].name, functions[i].count);
		functions[i].count = 0;
	}
	if (calls)
		fputc('\n', out);
}

static void call_begins(unsigned int vcpu, void *data)
{
	(void)vcpu;
	(void)data;
	end_call();
	calls++;
}

static void guest_ends(uint64_t id, void *data)
{
	(void)id;
	(void)data;
	end_call();
	fclose(out);
}

static struct function *find_function(uint64_t addr)
{
	int i;

	for (i = 0; i < nr_functions; i++)
		if (addr >= functions[i].start && addr < functions[i].end)
			return &functions[i];
	return NULL;
}

static void translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t addr = qemu_plugin_insn_vaddr(insn);
		struct function *function = find_function(addr);

		if (addr == entry)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, call_begins, QEMU_PLUGIN_CB_NO_REGS, NULL);
		if (function && is_atomic(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn)))
			qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &function->count, 1);
	}
}

static bool is_gup_fast(const char *name, char type)
{
	static const char *const begin[] = { "gup_fast", "try_grab_folio_fast", "try_get_folio" };
	size_t i;

	for (i = 0; i < sizeof(begin) / sizeof(begin[0]); i++)
		if ((type == 't' || type == 'T') && !strncmp(name, begin[i], strlen(begin[i])))
			return true;
	return false;
}

/* System.map is sorted: a function ends where the next symbol begins. */
static int read_map(const char *path)
{
	char line[512], type, name[64];
	struct function *function = NULL;
	uint64_t addr;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNx64 " %c %63s", &addr, &type, name) != 3)
			continue;
		if (function && addr > function->start) {
			function->end = addr;
			function = NULL;
		}
		if (!strcmp(name, "gup_test_ioctl"))
			entry = addr;
		if (!function && nr_functions < MAX_FUNCTIONS && is_gup_fast(name, type)) {
			function = &functions[nr_functions++];
			function->start = addr;
			strcpy(function->name, name);
		}
	}
	fclose(f);
	return entry && nr_functions ? 0 : -1;
}

EXPORT int qemu_plugin_install(uint64_t id, const struct info *info, int argc, char **argv)
{
	const char *map = NULL, *path = NULL;
	int i;

	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "map=", 4))
			map = argv[i] + 4;
		else if (!strncmp(argv[i], "out=", 4))
			path = argv[i] + 4;
	}
	if (!strcmp(info->target_name, "x86_64"))
		is_atomic = is_atomic_x86;
	else if (!strcmp(info->target_name, "aarch64"))
		is_atomic = is_atomic_arm64;
	if (!is_atomic || !map || !path) {
		fprintf(stderr, "atomics: want map= and out=, and a guest that is x86_64 or aarch64\n");
		return -1;
	}
	if (read_map(map)) {
		fprintf(stderr, "atomics: %s cannot be read, or has neither gup_test_ioctl nor gup_fast\n", map);
		return -1;
	}
	out = fopen(path, "w");
	if (!out) {
		perror(path);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, guest_ends, NULL);
	return 0;
}
