"""Keys that sign engines, made as a site makes them."""

import subprocess
from pathlib import Path


def openssl_keys(folder: Path, algorithm: str = "ed25519") -> tuple[Path, Path]:
    """As the README says."""
    private, public = folder / f"{algorithm}.pem", folder / f"{algorithm}-public.pem"
    for command in (
        ["openssl", "genpkey", "-algorithm", algorithm, "-out", private],
        ["openssl", "pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return private, public
