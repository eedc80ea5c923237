use super::*;

fn code(text: &str) -> Code {
    Registries::parse(text).expect_err(text).code
}

#[test]
fn every_line_is_read() {
    let text = "version = 1\n[registry.\"r.example/ice\"]\nindex = \"r.example/ice/ice-index\"\nca = \"ca.pem\"\n\
                auth = \"env:R_USER,R_PASSWORD\"\nmirrors = [\"m.example/copy\"]\nrealms = [\"https://AUTH.example/token\"]\n\
                [registry.\"127.0.0.1:5000\"]\nplain_http = true\nauth = \"anonymous\"\n";
    let registries = Registries::parse(text).unwrap();
    let settings = registries.get("r.example/ice").unwrap();
    assert_eq!(settings.index.as_deref(), Some("r.example/ice/ice-index"));
    assert_eq!(settings.auth, Auth::Environment { user: "R_USER".to_owned(), password: "R_PASSWORD".to_owned() });
    assert_eq!(settings.mirrors, ["m.example/copy"]);
    assert_eq!(settings.realms, ["https://auth.example/token"]);
    assert!(registries.get("127.0.0.1:5000").unwrap().plain_http);
    assert_eq!(registries.get("r.example"), None);
}

#[test]
fn what_would_weaken_a_registry_is_refused() {
    for text in [
        "[registry.\"r.example\"]\nplain_http = true",
        "[registry.\"localhost:5000\"]\nplain_http = true",
        "[registry.\"127.0.0.1\"]\nplain_http = true",
        "[registry.\"10.0.0.1:5000\"]\nplain_http = true",
        "[registry.\"127.0.0.1:5000\"]\nplain_http = true\nca = \"x.pem\"",
        "[registry.\"127.0.0.1:5000\"]\nplain_http = true\n[registry.\"127.0.0.1:5000/ice\"]\n",
        "[registry.\"r.example\"]\nrealms = [\"http://auth.example/token\"]",
        "[registry.\"r.example\"]\nrealms = [\"http://127.0.0.1:9/token\"]",
        "[registry.\"r.example\"]\nrealms = [\"https://u:p@auth.example/token\"]",
        "[registry.\"r.example\"]\nverify = false",
        "[registry.\"r.example\"]\nauth = \"hunter2\"",
        "[registry.\"r.example\"]\nauth = \"env:A\"",
        "[registry.\"r.example\"]\nmirrors = [\"acme\"]",
        "[registry.\"https://r.example\"]\n",
        "[registry.\"acme\"]\n",
        "version = 2",
        "[registry",
    ] {
        assert_eq!(code(text), Code::C006, "{text}");
    }
    let problem = Registries::parse("[registry.\"r.example\"]\nauth = \"hunter2\"").unwrap_err();
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[test]
fn the_longest_prefix_holds_and_only_at_a_slash() {
    let registries = Registries::parse(
        "[registry.\"r.example\"]\nauth = \"anonymous\"\n[registry.\"r.example/ice\"]\nindex = \"i\"\n\
         [registry.\"r.example/ice/acme\"]\nindex = \"a\"\n",
    )
    .unwrap();
    let of = |prefix: &str, name: &str| {
        let repository = Repository::parse(prefix, name).unwrap();
        let (settings, rest) = registries.of(&repository);
        (settings.and_then(|settings| settings.index.clone()), rest.to_owned())
    };
    assert_eq!(of("r.example/ice", "acme/csv"), (Some("a".to_owned()), "csv".to_owned()));
    assert_eq!(of("r.example/ice", "acmes/csv"), (Some("i".to_owned()), "acmes/csv".to_owned()));
    assert_eq!(of("r.example", "icecream/csv"), (None, "icecream/csv".to_owned()));
    assert_eq!(of("r.example.evil.example/ice", "acme/csv"), (None, "ice/acme/csv".to_owned()));
    assert_eq!(registries.of_host("r.example").unwrap().auth, Auth::Anonymous);
}

#[test]
fn editing_keeps_comments_and_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registries.toml");
    let old = "# ours\nversion = 1\n\n[registry.\"a.example\"] # kept\nauth = \"anonymous\" # why\nca = \"a.pem\"\n";
    std::fs::write(&path, old).unwrap();
    let settings = RegistrySettings { mirrors: vec!["m.example/x".to_owned()], ..RegistrySettings::default() };
    Registries::set(&path, "b.example/ice", &settings).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(old), "{text}");
    let read = Registries::read(&path).unwrap();
    assert_eq!(read.get("b.example/ice"), Some(&settings));
    let beside = folder.path().join("a.pem").to_string_lossy().into_owned();
    assert_eq!(read.get("a.example").unwrap().ca, Some(beside));

    Registries::set(&path, "a.example", &RegistrySettings::default()).unwrap();
    assert_eq!(Registries::read(&path).unwrap().get("a.example"), Some(&RegistrySettings::default()));
    assert!(Registries::remove(&path, "b.example/ice").unwrap());
    assert!(!Registries::remove(&path, "b.example/ice").unwrap());
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("# ours\n"));

    let plain = RegistrySettings { plain_http: true, ..RegistrySettings::default() };
    assert_eq!(Registries::set(&path, "c.example", &plain).unwrap_err().code, Code::C006);
    assert_eq!(Registries::read(&path).unwrap().get("c.example"), None);
}

#[test]
fn a_file_that_is_not_there_knows_nothing_and_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trust").join("registries.toml");
    assert_eq!(Registries::read(&path).unwrap(), Registries::default());
    let settings = RegistrySettings { plain_http: true, ..RegistrySettings::default() };
    Registries::set(&path, "127.0.0.1:5000", &settings).unwrap();
    assert_eq!(Registries::read(&path).unwrap().get("127.0.0.1:5000"), Some(&settings));
}
