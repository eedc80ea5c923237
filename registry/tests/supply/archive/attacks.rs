//! Archives that must not be taken: the list of the threat model, and what a second look at the form found.

use ice_core::id::Digest;
use serde_json::{Value, json};

use super::tar::{END, Files, Header, entry, gunzip, gzip};

/// Makes a hostile archive of a good one.
pub(super) type Attack = fn(&Good) -> Vec<u8>;

/// A good archive: its bytes, and its files.
pub(super) struct Good {
    pub(super) bytes: Vec<u8>,
    pub(super) files: Files,
}

impl Good {
    /// The good archive with one more entry in front.
    fn and(&self, first: &[u8]) -> Vec<u8> {
        self.files.preceded_by(first)
    }

    /// With another `index.json`.
    fn index(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        self.index_of(&self.files.clone(), change)
    }

    fn index_of(&self, files: &Files, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut index: Value = serde_json::from_slice(self.files.get("index.json")).unwrap();
        change(&mut index);
        files.clone().replaced("index.json", index.to_string().as_bytes()).packed()
    }

    /// With another OCI manifest, under its right digest.
    pub(super) fn manifest(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let index: Value = serde_json::from_slice(self.files.get("index.json")).unwrap();
        let before = blob(index["manifests"][0]["digest"].as_str().unwrap());
        let mut manifest: Value = serde_json::from_slice(self.files.get(&before)).unwrap();
        change(&mut manifest);
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(&bytes).to_string();
        self.index_of(&self.files.clone().without(&before).with(&blob(&digest), &bytes), |index| {
            index["manifests"][0]["digest"] = json!(digest);
            index["manifests"][0]["size"] = json!(bytes.len());
        })
    }
}

impl Good {
    /// With an envelope that nobody signed.
    pub(super) fn unsigned(&self) -> Vec<u8> {
        let index: Value = serde_json::from_slice(self.files.get("index.json")).unwrap();
        let manifest = self.files.get(&blob(index["manifests"][0]["digest"].as_str().unwrap()));
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        let before = blob(manifest["config"]["digest"].as_str().unwrap());
        let mut config: Value = serde_json::from_slice(self.files.get(&before)).unwrap();
        config["io.iceos.envelope.v0"]["signatures"] = json!([]);
        let config = config.to_string().into_bytes();
        let digest = Digest::of(&config).to_string();
        let files = self.files.clone().without(&before).with(&blob(&digest), &config);
        Self { bytes: Vec::new(), files }.manifest(|manifest| {
            manifest["config"]["digest"] = json!(digest);
            manifest["config"]["size"] = json!(config.len());
        })
    }
}

fn blob(digest: &str) -> String {
    digest.replace("sha256:", "blobs/sha256/")
}

/// A file that is not part of the form, with these header bytes changed.
fn named(name: &[u8]) -> Vec<u8> {
    Header::new(name, 4).with(b"evil")
}

/// A good entry with a header that lies.
fn lying(change: impl FnOnce(Header) -> Header) -> Vec<u8> {
    let hex = Digest::of(b"evil").hex();
    change(Header::new(format!("blobs/sha256/{hex}").as_bytes(), 4)).with(b"evil")
}

/// Two readers see two things: the PAX header says that the next entry has 2048 bytes, which hold another entry.
fn desync() -> Vec<u8> {
    let record = b"13 size=2048\n";
    let long = b"blobs/sha256/long\0";
    [
        Header::new(b"pax", record.len()).of_type(b'x').with(record),
        Header::new(b"././@LongLink", long.len()).of_type(b'L').with(long),
        Header::new(b"oci-layout", 0).with(&[]),
        named(b"../smuggled"),
    ]
    .concat()
}

/// A gzip stream that never ends within a gibibyte: one mebibyte of zeros, again and again.
pub(super) fn gibibyte_of_zeros(first: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut part = |bytes: &[u8]| {
        let mut out = Vec::with_capacity(bytes.len() + 4096);
        compress.compress_vec(bytes, &mut out, flate2::FlushCompress::Full).unwrap();
        out
    };
    let head = part(first);
    let zeros = vec![0; 1 << 20];
    part(&zeros);
    let again = part(&zeros);
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &head, &again.repeat(1 << 10)].concat()
}

/// Attack, code, what the message says, how it is done. Without the words an attack could be refused for another reason.
pub(super) const ATTACKS: &[(&str, &str, &str, Attack)] = &[
    // Names.
    ("`../x`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"../x"))),
    ("`/x`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"/x"))),
    ("`blobs/sha256/../x`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"blobs/sha256/../x"))),
    ("`blobs\\sha256\\x`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"blobs\\sha256\\x"))),
    ("`./index.json`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"./index.json"))),
    ("`INDEX.JSON`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"INDEX.JSON"))),
    ("`index.json/`", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b"index.json/"))),
    ("no name", "E_ARCHIVE", "no entry of this name", |good| good.and(&named(b""))),
    ("a name that is not text", "E_ARCHIVE", "not text", |good| good.and(&named(b"\xff\xfe"))),
    ("NUL in a name", "E_ARCHIVE", "behind a NUL", |good| good.and(&named(b"iceos/index.json\0x"))),
    ("a digest in upper case", "E_ARCHIVE", "no entry of this name", |good| {
        let hex = Digest::of(b"evil").hex().to_uppercase();
        good.and(&entry(&format!("blobs/sha256/{hex}"), b"evil"))
    }),
    ("63 hex digits", "E_ARCHIVE", "no entry of this name", |good| {
        good.and(&entry(&format!("blobs/sha256/{}", &Digest::of(b"evil").hex()[1..]), b"evil"))
    }),
    ("a name in two fields", "E_ARCHIVE", "second field", |good| good.and(&lying(|header| header.set(345, b"..")))),
    ("`index.json` twice", "E_ARCHIVE", "two entries", |good| good.and(&entry("index.json", b"{}"))),
    ("a blob twice", "E_ARCHIVE", "two entries", |good| {
        let (name, content) = &good.files.0[0];
        good.and(&entry(name, content))
    }),
    ("a folder twice, with and without a slash", "E_ARCHIVE", "two entries", |good| {
        let folder = |name: &[u8]| Header::new(name, 0).of_type(b'5').with(&[]);
        good.and(&[folder(b"blobs"), folder(b"blobs/")].concat())
    }),
    // Types.
    ("a symbolic link", "E_ARCHIVE", "`2` is not a type", |good| {
        good.and(&Header::new(b"iceos/index.json", 0).of_type(b'2').linking("/etc/passwd").with(&[]))
    }),
    ("a hard link to `victim`", "E_ARCHIVE", "`1` is not a type", |good| {
        good.and(&Header::new(b"iceos/index.json", 0).of_type(b'1').linking("victim").with(&[]))
    }),
    ("a fifo", "E_ARCHIVE", "`6` is not a type", |good| {
        good.and(&Header::new(b"iceos/index.json", 0).of_type(b'6').with(&[]))
    }),
    ("a character device", "E_ARCHIVE", "`3` is not a type", |good| {
        good.and(&Header::new(b"oci-layout", 0).of_type(b'3').with(&[]))
    }),
    ("a block device", "E_ARCHIVE", "`4` is not a type", |good| {
        good.and(&Header::new(b"oci-layout", 0).of_type(b'4').with(&[]))
    }),
    ("a contiguous file", "E_ARCHIVE", "`7` is not a type", |good| good.and(&lying(|header| header.of_type(b'7')))),
    ("a file with the number of a device", "E_ARCHIVE", "names a device", |good| {
        good.and(&lying(|header| header.set(329, b"0000001")))
    }),
    ("a file with the target of a link", "E_ARCHIVE", "target of a link", |good| {
        good.and(&lying(|header| header.linking("victim")))
    }),
    ("a folder of another name", "E_ARCHIVE", "no entry of this name", |good| {
        good.and(&Header::new(b"evil/", 0).of_type(b'5').with(&[]))
    }),
    ("a folder with content", "E_ARCHIVE", "with content", |good| {
        good.and(&Header::new(b"blobs", 4).of_type(b'5').with(b"evil"))
    }),
    ("a folder that should be a file", "E_ARCHIVE", "should be a file", |good| {
        good.and(&Header::new(b"index.json", 0).of_type(b'5').with(&[]))
    }),
    ("a file that should be a folder", "E_ARCHIVE", "should be a folder", |good| {
        good.and(&Header::new(b"blobs/", 0).with(&[]))
    }),
    ("setuid", "E_ARCHIVE", "mode 4755", |good| good.and(&lying(|header| header.set(100, b"0004755")))),
    // Extensions.
    ("a PAX header and a GNU long name that two readers see differently", "E_ARCHIVE", "`x` is not a type", |good| {
        good.and(&desync())
    }),
    ("a global PAX header", "E_ARCHIVE", "`g` is not a type", |good| {
        good.and(&Header::new(b"pax", 11).of_type(b'g').with(b"11 path=../"))
    }),
    ("a GNU sparse file", "E_ARCHIVE", "`S` is not a type", |good| good.and(&lying(|header| header.of_type(b'S')))),
    ("a GNU long link", "E_ARCHIVE", "`K` is not a type", |good| {
        good.and(&Header::new(b"././@LongLink", 4).of_type(b'K').with(b"../\0"))
    }),
    ("GNU's magic", "E_ARCHIVE", "ustar", |good| good.and(&lying(|header| header.set(257, b"ustar  \0")))),
    ("no magic", "E_ARCHIVE", "ustar", |good| good.and(&lying(|header| header.set(257, &[0; 8])))),
    // Numbers.
    ("a size in base 256", "E_ARCHIVE", "size is not", |good| {
        good.and(&lying(|header| header.set(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4])))
    }),
    ("a negative size", "E_ARCHIVE", "size is not", |good| good.and(&lying(|header| header.set(124, b"-0000000004")))),
    ("no size", "E_ARCHIVE", "size is not", |good| good.and(&lying(|header| header.set(124, &[0; 12])))),
    ("a wrong checksum", "E_ARCHIVE", "checksum of its header", |good| {
        let mut evil = lying(|header| header);
        evil[101] = b'7';
        good.and(&evil)
    }),
    ("a size that reaches beyond the end", "E_ARCHIVE", "too early", |good| {
        gzip(&[good.files.entries(), Header::new(b"iceos/index.json", 1 << 20).with(b"{"), END.to_vec()].concat())
    }),
    // Contents.
    ("a blob that is not what its name says", "E_DIGEST", "not what its name says", |good| {
        let (name, _) = &good.files.0[0];
        good.files.clone().replaced(name, b"evil").packed()
    }),
    ("bytes between two entries", "E_ARCHIVE", "between its entries", |good| {
        let mut expanded = good.files.entries();
        let end = expanded.len() - 1;
        expanded[end] = 1;
        gzip(&[&expanded[..], &END].concat())
    }),
    ("a blob that nothing needs", "E_ARCHIVE", "nothing needs", |good| good.and(&lying(|header| header))),
    ("an entry that promises a gibibyte", "E_TOO_LARGE", "1073741824 bytes", |good| {
        let hex = Digest::of(b"evil").hex();
        good.and(&Header::new(format!("blobs/sha256/{hex}").as_bytes(), 1 << 30).with(b"evil"))
    }),
    ("a gibibyte of zeros in a blob", "E_TOO_LARGE", "200 times", |_| {
        let hex = Digest::of(b"evil").hex();
        gibibyte_of_zeros(&Header::new(format!("blobs/sha256/{hex}").as_bytes(), 64 << 20).with(&[]))
    }),
    ("a gibibyte of zeros behind the end", "E_TOO_LARGE", "200 times", |good| gibibyte_of_zeros(&good.files.entries())),
    ("an `index.json` of 17 MiB", "E_TOO_LARGE", "17825792 bytes", |good| {
        good.and(&Header::new(b"index.json", 17 << 20).with(b"{"))
    }),
    ("20 001 entries", "E_TOO_LARGE", "20000 entries", |_| {
        let blob = |number: u32| {
            let content = number.to_le_bytes();
            entry(&format!("blobs/sha256/{}", Digest::of(&content).hex()), &content)
        };
        gzip(&(0..20_001).flat_map(blob).collect::<Vec<u8>>())
    }),
    ("revocations that are no signed document", "E_SIGNED_FORM", "no signed document", |good| {
        good.and(&entry("iceos/revoked.json", b"{}"))
    }),
    // The stream.
    ("not compressed", "E_ARCHIVE", "not gzip", |good| gunzip(&good.bytes)),
    ("compressed by something else", "E_ARCHIVE", "not gzip", |_| b"\x28\xb5\x2f\xfd\0\0\0\0\0\0\0\0".to_vec()),
    ("nothing", "E_ARCHIVE", "too early", |_| Vec::new()),
    ("an empty tar", "E_ARCHIVE", "no `oci-layout`", |_| gzip(&END)),
    ("gzip with the name of a file", "E_ARCHIVE", "without a name", |good| {
        use std::io::Write as _;
        let mut encoder = flate2::GzBuilder::new().filename("../x").write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&gunzip(&good.bytes)).unwrap();
        encoder.finish().unwrap()
    }),
    ("two gzip members", "E_ARCHIVE", "behind its end", |good| [&good.bytes[..], &gzip(&END)].concat()),
    ("an empty second member", "E_ARCHIVE", "behind its end", |good| [&good.bytes[..], &gzip(b"")].concat()),
    ("the archive in two members", "E_ARCHIVE", "too early", |good| [gzip(&good.files.entries()), gzip(&END)].concat()),
    ("bytes behind the gzip member", "E_ARCHIVE", "behind its end", |good| [&good.bytes[..], b"x"].concat()),
    ("zeros behind the gzip member", "E_ARCHIVE", "behind its end", |good| [&good.bytes[..], &[0; 512]].concat()),
    ("truncated", "E_ARCHIVE", "too early", |good| good.bytes[..good.bytes.len() / 2].to_vec()),
    ("a wrong checksum of gzip", "E_ARCHIVE", "damaged", |good| {
        let mut bytes = good.bytes.clone();
        let at = bytes.len() - 8;
        bytes[at] ^= 1;
        bytes
    }),
    ("a wrong length of gzip", "E_ARCHIVE", "damaged", |good| {
        let mut bytes = good.bytes.clone();
        let at = bytes.len() - 1;
        bytes[at] ^= 1;
        bytes
    }),
    ("no end blocks", "E_ARCHIVE", "too early", |good| gzip(&good.files.entries())),
    ("one end block", "E_ARCHIVE", "end is missing", |good| gzip(&[&good.files.entries()[..], &END[..512]].concat())),
    ("an entry between the end blocks", "E_ARCHIVE", "behind its end", |good| {
        gzip(&[&good.files.entries()[..], &END[..512], &named(b"../x"), &END].concat())
    }),
    ("an entry behind the end", "E_ARCHIVE", "behind its end", |good| {
        gzip(&[&good.files.entries()[..], &END, &named(b"../x"), &END].concat())
    }),
    ("half a block behind the end", "E_ARCHIVE", "within a block", |good| {
        gzip(&[&good.files.entries()[..], &END, &[0; 100]].concat())
    }),
    // The layout.
    ("no `oci-layout`", "E_ARCHIVE", "no `oci-layout`", |good| good.files.clone().without("oci-layout").packed()),
    ("layout version 2.0.0", "E_ARCHIVE", "version `2.0.0`", |good| {
        good.files.clone().replaced("oci-layout", b"{\"imageLayoutVersion\":\"2.0.0\"}").packed()
    }),
    ("no layout version", "E_ARCHIVE", "no version", |good| good.files.clone().replaced("oci-layout", b"{}").packed()),
    ("two layout versions", "E_ARCHIVE", "twice", |good| {
        let two = b"{\"imageLayoutVersion\":\"2.0.0\",\"imageLayoutVersion\":\"1.0.0\"}";
        good.files.clone().replaced("oci-layout", two).packed()
    }),
    ("no `index.json`", "E_ARCHIVE", "no `index.json`", |good| good.files.clone().without("index.json").packed()),
    ("an index of schema version 3", "E_ARCHIVE", "schema version 2", |good| {
        good.index(|index| index["schemaVersion"] = json!(3))
    }),
    ("an index that names an absent blob", "E_ARCHIVE", "is missing", |good| {
        good.index(|index| index["manifests"][0]["digest"] = json!(Digest::of(b"absent")))
    }),
    ("an index with another size", "E_ARCHIVE", "are promised", |good| {
        good.index(|index| index["manifests"][0]["size"] = json!(1))
    }),
    ("an index of indexes", "E_ARCHIVE", "image.index", |good| {
        good.index(|index| index["manifests"][0]["mediaType"] = json!("application/vnd.oci.image.index.v1+json"))
    }),
    ("an index without a name", "E_ARCHIVE", "no `scope/name:version`", |good| {
        good.index(|index| index["manifests"][0]["annotations"] = json!({}))
    }),
    ("a name that is no name", "E_ARCHIVE", "no `scope/name:version`", |good| {
        good.index(|index| {
            index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = json!("../csv_reader:1.2.3");
        })
    }),
    ("one OCI manifest under two names", "E_ARCHIVE", "share document", |good| {
        good.index(|index| {
            let mut again = index["manifests"][0].clone();
            again["annotations"]["org.opencontainers.image.ref.name"] = json!("acme/csv_reader:1.2.4");
            index["manifests"].as_array_mut().unwrap().push(again);
        })
    }),
    ("one envelope in two OCI manifests", "E_ARCHIVE", "share document", |good| {
        let second = Files::of(&good.manifest(|manifest| manifest["annotations"] = json!({"a": "b"})));
        let line = |files: &Files| -> Value {
            let index: Value = serde_json::from_slice(files.get("index.json")).unwrap();
            index["manifests"][0].clone()
        };
        let mut other = line(&second);
        other["annotations"]["org.opencontainers.image.ref.name"] = json!("acme/csv_reader:1.2.4");
        let digest = blob(other["digest"].as_str().unwrap());
        let files = good.files.clone().with(&digest, second.get(&digest));
        good.index_of(&files, |index| index["manifests"].as_array_mut().unwrap().push(other))
    }),
    ("an artifact twice", "E_ARCHIVE", "1.2.3 twice", |good| {
        // A second OCI manifest and a second envelope, both whole.
        let second = Files::of(&good.manifest(|manifest| manifest["annotations"] = json!({"a": "b"})));
        let index: Value = serde_json::from_slice(second.get("index.json")).unwrap();
        let before = blob(index["manifests"][0]["digest"].as_str().unwrap());
        let manifest: Value = serde_json::from_slice(second.get(&before)).unwrap();
        let config = second.get(&blob(manifest["config"]["digest"].as_str().unwrap()));
        let config = [config, b"\n"].concat();
        let twice = Good { bytes: Vec::new(), files: second.clone() };
        let third = Files::of(&twice.manifest(|manifest| {
            manifest["config"]["digest"] = json!(Digest::of(&config));
            manifest["config"]["size"] = json!(config.len());
        }));
        let index: Value = serde_json::from_slice(third.get("index.json")).unwrap();
        let line = index["manifests"][0].clone();
        let digest = blob(line["digest"].as_str().unwrap());
        let files = good.files.clone().with(&digest, third.get(&digest));
        let files = files.with(&blob(&Digest::of(&config).to_string()), &config);
        good.index_of(&files, |index| index["manifests"].as_array_mut().unwrap().push(line))
    }),
    ("an index with `urls`", "E_ARCHIVE", "`urls`", |good| {
        good.index(|index| index["manifests"][0]["urls"] = json!(["http://127.0.0.1:1/x"]))
    }),
    ("a layer with `urls`", "E_ARCHIVE", "`urls`", |good| {
        good.manifest(|manifest| manifest["layers"][0]["urls"] = json!(["http://127.0.0.1:1/x"]))
    }),
    ("a layer that is absent", "E_ARCHIVE", "is missing", |good| {
        good.manifest(|manifest| manifest["layers"][0]["digest"] = json!(Digest::of(b"absent")))
    }),
    ("a layer with another size", "E_ARCHIVE", "are promised", |good| {
        good.manifest(|manifest| manifest["layers"][0]["size"] = json!(9))
    }),
    ("an artifact of another type", "E_ARCHIVE", "no plugin, kit or bundle", |good| {
        good.manifest(|manifest| manifest["artifactType"] = json!("application/vnd.oci.image.config.v1+json"))
    }),
    // In form, and not what was asked for.
    ("a good plugin under another version", "E_NAME", "version `1.2.4`", |good| {
        good.index(|index| {
            index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = json!("acme/csv_reader:1.2.4");
        })
    }),
    ("a plugin that says it is a kit", "E_NAME", "kind `kit`", |good| {
        let kit = json!("application/vnd.iceos.kit.v0+json");
        let files = Files::of(&good.manifest(|manifest| manifest["artifactType"] = kit.clone()));
        let changed = Good { bytes: Vec::new(), files };
        changed.index(|index| index["manifests"][0]["artifactType"] = kit.clone())
    }),
];
