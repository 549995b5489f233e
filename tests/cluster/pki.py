"""Keys and certificates of a cluster, by openssl."""
import pathlib
import subprocess


def _openssl(*args, text=None):
    subprocess.run(["openssl", *map(str, args)], check=True, input=text, text=True, capture_output=True)


class Authority:
    """A root in folder/NAME.crt and NAME.key, and what it signs beside it."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = pathlib.Path(folder), name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.crt, self.key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                 "-keyout", self.key, "-out", self.crt, "-subj", f"/CN={name}")

    def issue(self, name, subject, names=(), days=30):
        """Returns (certificate, key) for clients, and for a server when names ("IP:…", "DNS:…") are given."""
        crt, key, csr = (self.folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
        usage = "clientAuth,serverAuth" if names else "clientAuth"
        extensions = f"extendedKeyUsage={usage}\n" + (f"subjectAltName={','.join(names)}\n" if names else "")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr,
                 "-subj", subject)
        _openssl("x509", "-req", "-in", csr, "-CA", self.crt, "-CAkey", self.key, "-days", days, "-out", f"{crt}.new",
                 "-CAcreateserial", "-extfile", "/dev/stdin", text=extensions)
        pathlib.Path(f"{crt}.new").replace(crt)
        return crt, key


def signing_key(folder):
    """(private, public) key that signs tokens of ServiceAccounts."""
    private, public = pathlib.Path(folder) / "sa.key", pathlib.Path(folder) / "sa.pub"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
    _openssl("ec", "-in", private, "-pubout", "-out", public)
    return private, public
