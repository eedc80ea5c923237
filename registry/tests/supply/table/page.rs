//! The page, line by line: which attacks each of its 42 rows lists, by the names they have in the tables.

/// Row, and what the page lists in it: attack, what it has to end with. The tables hold more.
pub(super) const PAGE: &[(u8, &[(&str, &str)])] = &[
    (1, &[("the component is swapped", "E_DIGEST"), ("the registry swaps a component", "E_DIGEST")]),
    (2, &[("the manifest is edited", "E_PAYLOAD")]),
    (
        3,
        &[
            ("a wasm config without an envelope", "E_UNSIGNED"),
            ("`signatures: []`", "E_UNSIGNED"),
            ("`sig: \"\"`", "E_UNSIGNED"),
        ],
    ),
    (4, &[("another publisher's key under V's id and label", "E_UNTRUSTED")]),
    (5, &[("a small-order key is trusted", "E_WEAK_KEY"), ("a small-order signature", "E_SIG")]),
    (6, &[("L is added to S", "E_SIG")]),
    (
        7,
        &[
            ("a signature over the bare 64 bytes", "E_SIG"),
            ("a signature over M and A swapped", "E_SIG"),
            ("the payload type of an index", "E_SIG"),
        ],
    ),
    (
        8,
        &[
            ("a duplicate member", "E_NONCANONICAL"),
            ("a number beyond 2^53", "E_NONCANONICAL"),
            ("`1.0`", "E_NONCANONICAL"),
            ("`-0`", "E_NONCANONICAL"),
            ("a trailing newline", "E_NONCANONICAL"),
            ("a byte order mark", "E_NONCANONICAL"),
            ("a needless escape", "E_NONCANONICAL"),
            ("unsorted members", "E_NONCANONICAL"),
        ],
    ),
    (9, &[("another plugin, validly signed", "E_NAME"), ("another plugin under this name", "E_NAME")]),
    (10, &[("an older release under a newer version", "E_ROLLBACK")]),
    (
        11,
        &[
            ("a tag is pushed again, the lock has the first", "E_LOCK"),
            ("a version is published with other content", "E_EXISTS"),
        ],
    ),
    (12, &[("the same index 31 days later", "E_STALE"), ("version N-1, as fresh as can be", "E_ROLLBACK")]),
    (13, &[("header N with a shard of N-1", "E_DIGEST")]),
    (14, &[("version 12 after 2^53-1 of the old key, under a new root", "ok")]),
    (
        15,
        &[
            ("a blob of 8 bytes whose 9th byte comes", "E_TOO_LARGE"),
            ("a manifest of 4 MiB and one byte", "E_TOO_LARGE"),
        ],
    ),
    (16, &[("a layer with `urls`", "E_REGISTRY")]),
    (17, &[("a realm over http on another port", "E_REALM")]),
    (
        18,
        &[("a redirect to another host with other bytes", "E_DIGEST"), ("a redirect from https to http", "E_REDIRECT")],
    ),
    (19, &[("a name that no scope holds", "E_NO_SCOPE")]),
    (
        20,
        &[
            ("a letter of another script", "E_NAME_FORM"),
            ("a name that reads the same", "E_NAME_TAKEN"),
            // The page lets this one through with a warning; it reads the same, so it is refused as well.
            ("a name that reads the same without its gap", "E_NAME_TAKEN"),
            ("a name one letter away, and nobody looks", "W_NEAR"),
        ],
    ),
    (
        21,
        &[
            ("no list of referrers, and its tag is not told", "E_UNAVAILABLE"),
            ("attestations are listed, the referrers hidden", "E_UNAVAILABLE"),
            ("a plugin with its own signature, the referrers hidden", "ok"),
        ],
    ),
    (22, &[("a kit after a garbage collection with --delete-untagged", "ok")]),
    (23, &[("the blob is overwritten between the check and its use", "ok")]),
    (
        24,
        &[
            ("a blob of the store is overwritten", "E_STORE"),
            ("an overwritten blob comes again", "ok"),
            ("an overwritten blob, and --frozen", "E_STORE"),
        ],
    ),
    (
        25,
        &[
            ("one byte of compiled code is changed", "recompiled"),
            ("compiled code of another home", "recompiled"),
            ("native code as an artifact", "E_NATIVE"),
            ("text as an artifact", "E_NOT_BINARY"),
        ],
    ),
    (
        26,
        &[
            ("`../x`", "E_ARCHIVE"),
            ("`/x`", "E_ARCHIVE"),
            ("`blobs/sha256/../x`", "E_ARCHIVE"),
            ("`blobs\\sha256\\x`", "E_ARCHIVE"),
            ("NUL in a name", "E_ARCHIVE"),
            ("a symbolic link", "E_ARCHIVE"),
            ("a hard link to `victim`", "E_ARCHIVE"),
            ("a fifo", "E_ARCHIVE"),
            ("a character device", "E_ARCHIVE"),
            ("a block device", "E_ARCHIVE"),
            ("setuid", "E_ARCHIVE"),
            ("a PAX header and a GNU long name that two readers see differently", "E_ARCHIVE"),
            ("a global PAX header", "E_ARCHIVE"),
            ("a GNU sparse file", "E_ARCHIVE"),
            ("`index.json` twice", "E_ARCHIVE"),
            ("a digest in upper case", "E_ARCHIVE"),
            ("a blob that is not what its name says", "E_DIGEST"),
            ("a gibibyte of zeros in a blob", "E_TOO_LARGE"),
            ("two gzip members", "E_ARCHIVE"),
            ("bytes behind the gzip member", "E_ARCHIVE"),
            ("truncated", "E_ARCHIVE"),
            ("no end blocks", "E_ARCHIVE"),
            ("20 001 entries", "E_TOO_LARGE"),
            ("an index that names an absent blob", "E_ARCHIVE"),
            ("layout version 2.0.0", "E_ARCHIVE"),
        ],
    ),
    (27, &[("titles of layers that climb out", "ok")]),
    (
        28,
        &[
            ("V's key is revoked, V is run", "E_REVOKED"),
            ("V's key is revoked but for V, V is installed and run", "ok"),
            ("V's key is revoked but for V, a new statement", "E_REVOKED"),
        ],
    ),
    (
        29,
        &[
            ("two of three: the same signature twice", "E_THRESHOLD"),
            ("two of three: the same key under two ids", "E_THRESHOLD"),
        ],
    ),
    (
        30,
        &[
            ("root 3 after root 1", "E_ROOT"),
            ("root 2 signed by its own keys only", "E_ROOT"),
            ("a root in the middle has expired", "ok"),
            ("the last root has expired", "E_ROOT_EXPIRED"),
        ],
    ),
    (31, &[("an update asks for http", "E_CAPABILITY"), ("a release is an hour old", "E_COOLDOWN")]),
    (
        32,
        &[
            ("an update only changes a description", "E_CHANGED"),
            ("a changed description that was accepted", "ok"),
            ("`--locked` with a changed description asked for", "E_LOCK_STALE"),
        ],
    ),
    (
        33,
        &[
            ("a bidirectional override", "E_TEXT"),
            ("a zero-width space", "E_TEXT"),
            ("a tag character", "E_TEXT"),
            ("a bell", "E_TEXT"),
        ],
    ),
    (34, &[("a manifest asks for `fs`", "E_CAPABILITY"), ("a guest opens files, and none are there", "ok")]),
    (
        35,
        &[
            ("a component imports `wasi:sockets/tcp@0.2.0`, none declared", "E_IMPORT"),
            ("a host looks at imports before it compiles", "E_IMPORT"),
        ],
    ),
    (36, &[("a lock names the attacker's plugin", "E_UNTRUSTED")]),
    (37, &[("the clock went back two days", "E_CLOCK"), ("locked content under a clock moved back", "ok")]),
    (
        38,
        &[
            ("`algo: none`", "E_ALGO"),
            ("a `sha512:` digest", "E_DIGEST_FORM"),
            ("a `SHA256:` digest", "E_DIGEST_FORM"),
            ("63 hex digits", "E_DIGEST_FORM"),
        ],
    ),
    (
        39,
        &[
            ("a folder or an unsigned file in `ICEOS_EXTRA_PLUGINS`, with --no-dynamic", "E_UNSIGNED"),
            ("an archive with an unsigned plugin", "E_UNSIGNED"),
            ("a folder in the place of an archive", "E_FILE"),
            ("a group may write to the trust folder", "E_TRUST_PERM"),
            ("a key is a symbolic link", "E_TRUST_PERM"),
        ],
    ),
    (40, &[("a certificate authority that is no certificate", "E_CONFIG")]),
    (
        41,
        &[
            ("another organisation's private plugin", "E_NOT_FOUND"),
            ("something is to be installed under --no-dynamic", "E_NO_DYNAMIC"),
        ],
    ),
    (42, &[("a token for acme/a publishes acme/b", "E_TOKEN"), ("a token after fifteen minutes", "E_TOKEN")]),
];

/// Row, attack, what it ends with, and where in the checkout it is tried: what runs components is in other crates.
pub(super) const ELSEWHERE: &[(u8, &str, &str, &str, &str)] = &[
    (
        22,
        "a bundle and its kits after a garbage collection, by whole programs",
        "ok",
        "tests/it/registries/collected.rs",
        "a_garbage_collection_leaves_everything_that_was_published",
    ),
    (
        24,
        "a component in the store of a whole program is changed",
        "E_STORE",
        "tests/it/tamper.rs",
        "a_changed_component_is_refused",
    ),
    (
        25,
        "one byte of compiled code is changed",
        "recompiled",
        "host/ice-runtime/src/tests/code.rs",
        "a_changed_byte_anywhere_in_a_record_means_compiling_anew",
    ),
    (
        25,
        "compiled code of another home",
        "recompiled",
        "host/ice-runtime/src/tests/code.rs",
        "the_record_of_another_component_or_key_is_not_believed",
    ),
    (
        25,
        "compiled code of a whole program is changed",
        "recompiled",
        "tests/it/tamper.rs",
        "changed_compiled_code_is_thrown_away_and_made_again",
    ),
    (34, "a guest opens files, and none are there", "ok", "host/ice-runtime/tests/hostile/main.rs", "read_file"),
    (
        35,
        "a host looks at imports before it compiles",
        "E_IMPORT",
        "host/ice-runtime/src/tests/code.rs",
        "an_import_that_is_not_offered_is_refused_before_anything_is_compiled",
    ),
    (
        36,
        "an attacker's plugin that a lock pins is run",
        "E_UNTRUSTED",
        "tests/it/strict.rs",
        "an_attackers_plugin_that_the_lock_pins_is_still_not_believed",
    ),
    (
        39,
        "a folder or an unsigned file in `ICEOS_EXTRA_PLUGINS`, with --no-dynamic",
        "E_UNSIGNED",
        "tests/it/strict.rs",
        "extra_plugins_are_signed_archives_that_the_lock_lists",
    ),
];
