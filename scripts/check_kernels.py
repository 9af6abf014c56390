#!/usr/bin/env python3
"""Compiles every CUDA kernel for every architecture, with no GPU, and refuses warnings and spills.

Why: a machine without a GPU must still prove that the kernels compile for those that have one.
usage: scripts/check_kernels.py [--out FOLDER]   (FOLDER gets the cubins)
Looks for NVRTC in $NULLFACE_NVRTC, then in .deps/cuda; the sources need no header of the toolkit.
Exit code: 0 all compile clean; 1 a kernel does not; 2 NVRTC is not there or cannot be used.
"""
import ctypes
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KERNELS = os.path.join(ROOT, "kernels", "cuda")
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
ENTRY = re.compile(r'extern "C" __global__ void (\w+)')
LIBRARY = "libnvrtc.so.13"
# What sources share.
SHARED = ("common.cuh", "lowpass.cuh", "raster.cuh", "tile.cuh")
# Accesses that an entry must have, in PTX: sixteen bytes at a time, or through the read-only cache.
ACCESSES = {
    "composite": ("ld.global.v4", "st.global.v4"),
    "cover_apply": ("ld.global.v4", "st.global.v4"),
    "cover_means": ("ld.global.v4",),
    "crop_affine": ("ld.global.nc",),
    "crop_straight": ("ld.global.nc",),
    "edit_step": ("ld.global.v4", "st.global.v4"),
    "face_draw": ("ld.global.v4", "st.global.v4"),
    "face_finish": ("ld.global.v4",),
    "face_triangles": ("st.global.v4",),
    "match_cells": ("ld.global.v4",),
    "match_apply": ("ld.global.v4", "st.global.v4"),
    "warp_edit": ("ld.global.v4",),
    "warp_triangles": ("st.global.v4",),
}


class Nvrtc:
    """The few calls of NVRTC that a compilation takes."""

    def __init__(self, path):
        # The built-ins library is looked up by name when a program is compiled.
        folder = os.path.dirname(path)
        for name in sorted(os.listdir(folder)):
            if name.startswith("libnvrtc-builtins.so"):
                ctypes.CDLL(os.path.join(folder, name), mode=ctypes.RTLD_GLOBAL)
        self.lib = ctypes.CDLL(path)
        self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p

    def check(self, code, what):
        if code != 0:
            raise RuntimeError(f"{what}: {self.lib.nvrtcGetErrorString(code).decode()}")

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.check(getattr(self.lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
        buffer = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.lib, f"nvrtcGet{what}")(program, buffer), what)
        return buffer.raw

    def ptx(self, source, name):
        """The entries' assembly, by name; empty where it does not compile."""
        program = ctypes.c_void_p()
        self.check(self.lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None), "create")
        raw = (ctypes.c_char_p * 2)(b"--gpu-architecture=compute_80", b"--std=c++17")
        try:
            if self.lib.nvrtcCompileProgram(program, 2, raw) != 0:
                return {}
            text = self.text(program, "PTX").decode(errors="replace")
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))
        parts = re.split(r"\.visible \.entry ", text)[1:]
        return {part.split("(", 1)[0].strip(): part for part in parts}

    def compile(self, source, name, architecture):
        """The compiler's log, and the cubin or None."""
        program = ctypes.c_void_p()
        self.check(self.lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None), "create")
        options = [f"--gpu-architecture=sm_{architecture}", "--std=c++17", "--ptxas-options=-v"]
        raw = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        try:
            failed = self.lib.nvrtcCompileProgram(program, len(options), raw) != 0
            log = self.text(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            return log, None if failed else self.text(program, "CUBIN")
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))


def with_common(path):
    """The source with the shared part in its place, as the program that loads it puts it together."""
    with open(path, encoding="utf-8") as file:
        source = file.read()
    for name in SHARED:
        with open(os.path.join(KERNELS, name), encoding="utf-8") as file:
            source = source.replace(f'#include "{name}"', file.read().replace("#pragma once", ""))
    return source


def faults(source, log, cubin):
    """What is wrong with a compilation, and the registers of each entry."""
    wrong = []
    if cubin is None:
        return [f"does not compile:\n{log}"], {}
    if "warning" in log.lower():
        wrong.append(f"warning:\n{log}")
    registers = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.split("'", 1)[0]
        used = re.search(r"Used (\d+) registers", part)
        spilled = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        if used is None or spilled is None:
            wrong.append(f"{name}: the compiler's log does not tell its resources")
            continue
        registers[name] = int(used[1])
        if (spilled[2], spilled[3]) != ("0", "0"):
            wrong.append(f"{name}: {spilled[0]}")
    expected = set(ENTRY.findall(source))
    if not expected or expected != set(registers):
        wrong.append(f"entries: expected {sorted(expected)}, got {sorted(registers)}")
    if len(cubin) < 1000 or not cubin.startswith(b"\x7fELF"):
        wrong.append(f"cubin: expected an ELF file, got {len(cubin)} bytes")
    return wrong, registers


def narrow(entries):
    """Accesses that are not as wide as they must be."""
    wrong = []
    for name, text in sorted(entries.items()):
        wrong += [f"{name}: no {wanted}" for wanted in ACCESSES.get(name, ()) if wanted not in text]
    return wrong


def library():
    named = os.environ.get("NULLFACE_NVRTC")
    path = named or os.path.join(ROOT, ".deps", "cuda", LIBRARY)
    if not os.path.isfile(path):
        print(f"check_kernels.py: NVRTC not found at {path}; run scripts/setup.sh, or name it in NULLFACE_NVRTC", file=sys.stderr)
        sys.exit(2)
    return path


def main():
    out = sys.argv[2] if len(sys.argv) == 3 and sys.argv[1] == "--out" else None
    if len(sys.argv) > 1 and out is None:
        print("usage: scripts/check_kernels.py [--out FOLDER]", file=sys.stderr)
        return 2
    try:
        nvrtc = Nvrtc(library())
    except OSError as error:
        print(f"check_kernels.py: NVRTC cannot be loaded: {error}", file=sys.stderr)
        return 2
    passed = failed = 0
    seen = set()
    for file in sorted(f for f in os.listdir(KERNELS) if f.endswith(".cu")):
        source = with_common(os.path.join(KERNELS, file))
        entries = nvrtc.ptx(source, file)
        seen |= set(entries)
        wrong = narrow(entries)
        wide = ", ".join(f"{name} {len(re.findall(r'(?:ld|st)[.]global[.](?:nc[.])?v4', text))}" for name, text in sorted(entries.items()))
        print(f"{'FAILED' if wrong or not entries else 'ok':6} PTX     {file:16} 16-byte accesses: {wide}")
        for fault in wrong:
            print(f"       {fault}")
        passed, failed = passed + (not wrong and bool(entries)), failed + bool(wrong or not entries)
        for architecture in ARCHITECTURES:
            log, cubin = nvrtc.compile(source, file, architecture)
            wrong, registers = faults(source, log, cubin)
            told = ", ".join(f"{name} {count}" for name, count in sorted(registers.items()))
            print(f"{'FAILED' if wrong else 'ok':6} sm_{architecture:<4} {file:16} registers: {told}")
            for fault in wrong:
                print(f"       {fault}")
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if out and cubin:
                os.makedirs(out, exist_ok=True)
                with open(os.path.join(out, f"{file[:-3]}.sm_{architecture}.cubin"), "wb") as to:
                    to.write(cubin)
    if missing := set(ACCESSES) - seen:
        print(f"FAILED entries that are not there: {sorted(missing)}")
        failed += 1
    print(f"kernels: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
