//! Where code comes from: what is refused, what is compiled once, what is kept on disk and who is believed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use ice_core::catalog::CallKind;
use ice_core::problem::Code;
use serde_json::json;

use super::{Bench, guests};
use crate::{CacheCounts, Description, HostLimits, Limits, RuntimeOptions};

async fn run_with_cache(folder: &Path, component: &[u8]) -> CacheCounts {
    let options = RuntimeOptions { cache_dir: Some(folder.to_owned()), ..RuntimeOptions::default() };
    let bench = Bench::new(component, CallKind::Tool, &[], options);
    assert_eq!(bench.ask(json!("x")).await.result.unwrap(), json!("x"));
    bench.runtime.cache_counts()
}

fn record(folder: &Path) -> std::path::PathBuf {
    let mut records = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    records.find(|path| path.extension().is_some_and(|extension| extension == "aot")).unwrap()
}

const COMPILED: CacheCounts = CacheCounts { compiled: 1, from_disk: 0 };
const FROM_DISK: CacheCounts = CacheCounts { compiled: 0, from_disk: 1 };

#[tokio::test]
async fn compiled_code_is_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    assert_eq!(run_with_cache(&cache, &guests::echo()).await, COMPILED);
    assert_eq!(run_with_cache(&cache, &guests::echo()).await, FROM_DISK);
}

#[tokio::test]
async fn a_changed_byte_anywhere_in_a_record_means_compiling_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let echo = guests::echo();
    run_with_cache(&cache, &echo).await;
    let length = fs::read(record(&cache)).unwrap().len();
    for at in [0, 7, 8, 39, 40, 60, length / 2, length - 1] {
        let path = record(&cache);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        assert_eq!(run_with_cache(&cache, &echo).await, COMPILED, "byte {at}");
        assert_eq!(run_with_cache(&cache, &echo).await, FROM_DISK, "byte {at} was repaired");
    }
    for length in [0, 8, 39, 40, length - 1] {
        fs::OpenOptions::new().write(true).open(record(&cache)).unwrap().set_len(length as u64).unwrap();
        assert_eq!(run_with_cache(&cache, &echo).await, COMPILED, "cut to {length}");
    }
}

#[tokio::test]
async fn the_record_of_another_component_or_key_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    run_with_cache(&one, &guests::echo()).await;
    run_with_cache(&two, &guests::remember_if_possible()).await;
    // The record of one component under the name of another, in a folder with the same key.
    fs::copy(one.join("key"), two.join("key")).unwrap();
    fs::copy(record(&two), record(&one)).unwrap();
    assert_eq!(run_with_cache(&one, &guests::echo()).await, COMPILED);
    // The right record, made under another key.
    fs::write(two.join("key"), [7; 32]).unwrap();
    fs::remove_file(record(&two)).unwrap();
    fs::copy(record(&one), two.join(record(&one).file_name().unwrap())).unwrap();
    assert_eq!(run_with_cache(&two, &guests::echo()).await, COMPILED);
}

#[tokio::test]
async fn a_folder_or_key_that_is_open_to_others_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    run_with_cache(&cache, &guests::echo()).await;
    let with = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let warned = || {
        let options = RuntimeOptions { cache_dir: Some(cache.clone()), ..RuntimeOptions::default() };
        let bench = Bench::new(&guests::echo(), CallKind::Tool, &[], options);
        bench.runtime.warnings().iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    assert_eq!(warned(), []);
    with(&cache, 0o777);
    assert_eq!(warned(), [Code::C030]);
    assert_eq!(run_with_cache(&cache, &guests::echo()).await, COMPILED);
    with(&cache, 0o700);
    with(&cache.join("key"), 0o644);
    assert_eq!(warned(), [Code::C030]);
    with(&cache.join("key"), 0o600);
    assert_eq!(run_with_cache(&cache, &guests::echo()).await, FROM_DISK);
    fs::write(cache.join("key"), b"short").unwrap();
    assert_eq!(warned(), [Code::C030]);
}

#[tokio::test]
async fn an_import_that_is_not_offered_is_refused_before_anything_is_compiled() {
    let bench = Bench::kit(&guests::foreign());
    let failure = bench.ask(json!({})).await.result.unwrap_err();
    assert_eq!(failure.problem.code, Code::T035);
    assert!(failure.problem.message.contains("test:guest/foreign"), "{}", failure.problem);
    assert_eq!(bench.runtime.cache_counts().compiled, 0);
}

#[tokio::test]
async fn everything_in_wit_links() {
    let bench = Bench::kit(&guests::echo());
    for world in ["kit", "agent", "bundle"] {
        let component = guests::importing_everything(world);
        let digest = bench.world.publish(&component);
        bench.runtime.precompile(&digest).await.unwrap_or_else(|failure| panic!("{world}: {failure}"));
    }
}

#[tokio::test]
async fn a_failure_to_prepare_is_not_kept() {
    let echo = guests::echo();
    let bench = Bench::kit(&echo);
    let digest = ice_core::id::Digest::of(&echo);
    bench.world.tamper(&digest);
    assert!(bench.runtime.precompile(&digest).await.is_err());
    assert!(!bench.runtime.is_ready(&digest));
    bench.world.tamper(&digest);
    bench.runtime.precompile(&digest).await.unwrap();
    assert!(bench.runtime.is_ready(&digest));
}

#[tokio::test]
async fn a_component_describes_itself_without_any_grant() {
    let bench = Bench::kit(&guests::echo());
    let description = bench.runtime.describe(&guests::counter()).await.unwrap();
    assert_eq!(description, Description::Kit(vec![]));
    let failure = bench.runtime.describe(b"\0asm\x01\0\0\0").await.unwrap_err();
    assert_eq!(failure.problem.code, Code::T036);
}

#[tokio::test]
async fn a_component_that_spins_in_describe_is_stopped() {
    let describe = Limits { cpu: Duration::from_millis(30), ..Limits::DESCRIBE };
    let limits = HostLimits { describe, ..HostLimits::default() };
    let options = RuntimeOptions { limits, ..RuntimeOptions::default() };
    let bench = Bench::new(&guests::echo(), CallKind::Tool, &[], options);
    let failure = bench.runtime.describe(&guests::spin_in_describe()).await.unwrap_err();
    assert_eq!(failure.problem.code, Code::G011);
    assert!(failure.problem.help.unwrap().contains("fixed"));
}
