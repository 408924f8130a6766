"""ONNX Runtime as it computes on a processor without AVX-512 and VNNI, at full speed.

The runtime asks the processor what it has (CPUID) and chooses its kernels by the answer. In a copy of it that
instruction is an invalid one, and a signal handler answers in its place, leaving out what an older processor
lacks.
"""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import click

_CPUID, _INVALID = b"\x0f\xa2", b"\xd6\xa2"
_HANDLER = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    if (code[0] != 0xd6 || code[1] != 0xa2) {
        signal(number, SIG_DFL);  /* somebody else's: met again on return */
        return;
    }
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {
        b &= ~0xdc230000u;  /* AVX-512 F DQ IFMA PF ER CD BW VL */
        c &= ~0x00005842u;  /* AVX-512 VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
        d &= ~0x03c0010cu;  /* AVX-512 4VNNIW 4FMAPS VP2INTERSECT FP16, AMX */
    } else if (leaf == 7 && part == 1) {
        a &= ~0x00a00030u;  /* AVX-VNNI, AVX-512 BF16, AMX-FP16, AVX-IFMA */
        d &= ~0x00000430u;  /* AVX-VNNI-INT8, AVX-NE-CONVERT, AVX-VNNI-INT16 */
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, 0);
}
"""


def older_runtime(folder: Path) -> dict[str, str]:
    """A copy of the installed runtime in `folder` -> the environment in which Python finds it.

    Raises click.ClickException without a C compiler, binutils or ONNX Runtime.
    """
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None or not all(map(shutil.which, ("cc", "objdump"))):
        raise click.ClickException(
            "it takes ONNX Runtime, a C compiler (cc) and binutils (objdump), on x86-64"
        )
    copy = folder / "onnxruntime"
    shutil.copytree(Path(spec.origin).parent, copy)
    (library,) = (copy / "capi").glob("onnxruntime_pybind11_state*.so")
    _blind(library)
    source, handler = folder / "handler.c", folder / "handler.so"
    source.write_text(_HANDLER)
    _said("cc", "-O2", "-shared", "-fPIC", "-o", str(handler), str(source))
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"LD_PRELOAD": str(handler), "PYTHONPATH": os.pathsep.join(path)}


def _blind(library: Path) -> None:
    """Every CPUID in the library becomes an instruction that is none."""
    places = []
    for line in _said("objdump", "-h", str(library)).splitlines():
        fields = line.split()
        if len(fields) == 7 and fields[1] == ".text":
            size, start, offset = (int(fields[index], 16) for index in (2, 3, 5))
            listed = _said("objdump", "-d", "--no-show-raw-insn", "-j", ".text", str(library))
            at = [int(line.split(":")[0], 16) for line in listed.splitlines() if line.endswith("\tcpuid")]
            places += [offset + address - start for address in at if start <= address < start + size]
    data = bytearray(library.read_bytes())
    for place in places:
        assert data[place : place + 2] == _CPUID
        data[place : place + 2] = _INVALID
    if not places:
        raise click.ClickException(f"{library.name} never asks the processor what it has: nothing to hide")
    library.write_bytes(data)


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
