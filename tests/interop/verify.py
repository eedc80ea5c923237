"""A second reader and writer of ice envelopes, written from the format alone.

Uses the standard library, `cryptography` for ed25519 and `rfc8785` for canonical JSON; `securesystemslib`, where asked,
checks that an envelope is plain DSSE. Shares no code with the host.

    verify.py verify ENVELOPE PUBLIC_PEM [COMPONENT ...]   prints the statement digest, or fails with the reason
    verify.py sign MANIFEST PRIVATE_PEM LABEL              prints an envelope; MANIFEST is any JSON text
    verify.py dsse ENVELOPE PUBLIC_PEM                     verifies with securesystemslib only
"""

import base64
import hashlib
import json
import sys

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

MEDIA_TYPE = "application/vnd.iceos.envelope.v0+json"
PAYLOAD_TYPE = "application/vnd.iceos.plugins.v0.digests"


def fail(reason):
    sys.exit(f"refused: {reason}")


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        fail("a member is there twice")
    return dict(pairs)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def parse(data):
    return json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates)


def strict_base64(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        fail("base64 in a second spelling")
    return data


def pae(payload_type, payload):
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def artifacts(manifest):
    seen = []
    for component in manifest["components"]:
        digest = component["artifact"]
        kind, _, hexadecimal = digest.partition(":")
        if kind != "sha256" or len(hexadecimal) != 64 or hexadecimal.lower() != hexadecimal:
            fail(f"{digest} is not a digest")
        raw = bytes.fromhex(hexadecimal)
        if raw not in seen:
            seen.append(raw)
    return seen


def spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def keyid(key):
    return "sha256:" + hashlib.sha256(spki(key)).hexdigest()


def verify(envelope_path, key_path, component_paths):
    envelope = parse(read(envelope_path))
    if envelope["mediaType"] != MEDIA_TYPE or envelope["payloadType"] != PAYLOAD_TYPE:
        fail("not an envelope about a plugin")
    manifest_bytes = strict_base64(envelope["manifest"])
    manifest = parse(manifest_bytes)
    if rfc8785.dumps(manifest) != manifest_bytes:
        fail("the manifest is not canonical")
    expected = b"".join(artifacts(manifest)) + hashlib.sha256(manifest_bytes).digest()
    payload = strict_base64(envelope["payload"])
    if payload != expected:
        fail("the payload is not made of this manifest and its artifacts")
    key = serialization.load_pem_public_key(read(key_path))
    mine = [entry for entry in envelope["signatures"] if entry["keyid"] == keyid(key)]
    if not mine:
        fail("no signature of this key")
    for entry in mine:
        if entry["algo"] != "ed25519":
            fail("another algorithm")
        try:
            key.verify(strict_base64(entry["sig"]), pae(PAYLOAD_TYPE, payload))
        except InvalidSignature:
            fail("the signature does not verify")
    named = {bytes.fromhex(component["artifact"][7:]): component["size"] for component in manifest["components"]}
    for path in component_paths:
        data = read(path)
        if named.get(hashlib.sha256(data).digest()) != len(data):
            fail(f"{path} is not an artifact of this manifest")
    print("sha256:" + hashlib.sha256(payload).hexdigest())


def sign(manifest_path, key_path, label):
    manifest = parse(read(manifest_path))
    manifest_bytes = rfc8785.dumps(manifest)
    payload = b"".join(artifacts(manifest)) + hashlib.sha256(manifest_bytes).digest()
    key = serialization.load_pem_private_key(read(key_path), password=None)
    text = lambda data: base64.b64encode(data).decode()
    print(
        json.dumps(
            {
                "mediaType": MEDIA_TYPE,
                "payloadType": PAYLOAD_TYPE,
                "payload": text(payload),
                "manifest": text(manifest_bytes),
                "signatures": [
                    {
                        "keyid": keyid(key.public_key()),
                        "public_key_id": label,
                        "algo": "ed25519",
                        "sig": text(key.sign(pae(PAYLOAD_TYPE, payload))),
                    }
                ],
                "timestamps": [],
            },
            indent=1,
        )
    )


def dsse(envelope_path, key_path):
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    document = parse(read(envelope_path))
    plain = {name: document[name] for name in ("payload", "payloadType")}
    plain["signatures"] = [{"keyid": entry["keyid"], "sig": entry["sig"]} for entry in document["signatures"]]
    public = serialization.load_pem_public_key(read(key_path))
    key = SSlibKey.from_crypto(public, keyid=keyid(public))
    accepted = Envelope.from_dict(plain).verify([key], threshold=1)
    if len(accepted) != 1:
        fail("securesystemslib accepts no signature")
    print("dsse ok")


def main(arguments):
    if len(arguments) >= 3 and arguments[0] == "verify":
        return verify(arguments[1], arguments[2], arguments[3:])
    if len(arguments) == 4 and arguments[0] == "sign":
        return sign(*arguments[1:])
    if len(arguments) == 3 and arguments[0] == "dsse":
        return dsse(*arguments[1:])
    sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
