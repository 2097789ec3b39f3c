use super::*;

#[test]
fn imagenet_is_whole() {
    let labels = Labels::imagenet();
    assert_eq!(labels.len(), 1000);
    assert_eq!(labels.name(388), "giant panda");
    assert_eq!(Labels::fallback(1001).name(389), "giant panda");
    assert_eq!(Labels::fallback(10).name(7), "class 7");
    assert!(labels.names().iter().all(|n| *n == clean(n)));
}

#[test]
fn every_file_format() {
    let want = ["cat", "dog"];
    for text in [
        "cat\ndog\n",
        "\u{feff}cat\r\ndog\r\n\r\n",
        r#"["cat", "dog"]"#,
        r#"{"0": "cat", "1": "dog"}"#,
        r#"{"1": "dog", "0": "cat"}"#,
        r#"{"0": ["n01", "cat"], "1": ["n02", "dog"]}"#,
        r#"{"cat": 0, "dog": 1}"#,
        r#"{"id2label": {"0": "cat", "1": "dog"}}"#,
    ] {
        assert_eq!(Labels::parse(text, "labels").unwrap().names(), want, "{text}");
    }
    for text in ["", "\n", "{", "[1", r#"{"0": {}}"#, r#"{"999999": "x"}"#] {
        assert!(Labels::parse(text, "labels").is_err(), "{text}");
    }
}

#[test]
fn metadata_formats() {
    for text in [
        "{0: 'cat', 1: \"bird's nest\"}",
        "['cat', \"bird's nest\"]",
        r#"{"0": "cat", "1": "bird's nest"}"#,
        "cat,bird's nest",
        r"{0: 'cat', 1: 'bird\'s nest'}",
    ] {
        let map = BTreeMap::from([("names".to_owned(), text.to_owned())]);
        assert_eq!(Labels::from_metadata(&map).unwrap().names(), ["cat", "bird's nest"], "{text}");
    }
    assert!(Labels::from_metadata(&BTreeMap::from([("names".to_owned(), "{0: 'cat".to_owned())])).is_none());
}

#[test]
fn configs() {
    assert!(Labels::from_config(r#"{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}"#, "config.json").is_none());
    assert_eq!(Labels::from_config(r#"{"id2label": {"0": "a", "1": "b"}}"#, "config.json").unwrap().names(), ["a", "b"]);
    assert!(Labels::from_config("[", "config.json").is_none());
}

#[test]
fn terminal_escapes_never_survive() {
    assert_eq!(clean("\u{1b}[31mred\u{1b}[0m fox"), "red fox");
    assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "ab");
    assert_eq!(clean("a\u{1b}]8;;http://x\u{1b}\\b"), "ab");
    assert_eq!(clean("a\u{9b}2Jb\u{7}\0\u{7f}c"), "abc");
    assert_eq!(clean("left\u{202e}right\u{200b}"), "leftright");
    assert_eq!(clean("  two \t words\n"), "two words");
    assert_eq!(clean(&"x".repeat(500)).chars().count(), MAX_NAME);
    assert_eq!(clean("\u{1b}"), "");
    assert_eq!(clean("\u{1b}[999"), "");
}

#[test]
fn looking_up() {
    let labels = Labels::imagenet();
    assert_eq!(labels.find("388").unwrap(), 388);
    assert_eq!(labels.find("class 388").unwrap(), 388);
    assert_eq!(labels.find("giant panda").unwrap(), 388);
    assert_eq!(labels.find("Giant_Panda").unwrap(), 388);
    assert_eq!(labels.find("giant pan").unwrap(), 388);
    assert_eq!(labels.find("chickad").unwrap(), 19);
    let many = labels.find("terrier").unwrap_err().to_string();
    assert!(many.contains("give the number"), "{many}");
    let typo = labels.find("gaint panda").unwrap_err().to_string();
    assert!(typo.contains("'giant panda' (388)"), "{typo}");
    assert!(labels.find("1000").unwrap_err().to_string().contains("0 to 999"));
    assert!(labels.find("").is_err());
    assert!(!labels.find("\u{1b}[31mzzz").unwrap_err().to_string().contains('\u{1b}'));
    let digits = Labels::parse("zero\none\n7\n", "x").unwrap();
    assert_eq!(digits.find("7").unwrap(), 2);
}

#[test]
fn fit_fills_and_cuts() {
    let labels = Labels::parse("a\n\nc\n", "x").unwrap();
    assert_eq!(labels.clone().fit(5).names(), ["a", "class 1", "c", "class 3", "class 4"]);
    assert_eq!(labels.fit(1).names(), ["a"]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_safe(text in "\\PC{0,40}|[\\x00-\\x1f\\x7f-\\x9f\\[\\]a-z;:'\"{},0-9\\\\]{0,60}") {
        let once = clean(&text);
        proptest::prop_assert!(once.chars().all(|c| !c.is_control()) && once.chars().count() <= MAX_NAME);
        proptest::prop_assert_eq!(clean(&once), once.clone());
        let _ = Labels::parse(&text, "labels");
        let _ = Labels::from_metadata(&BTreeMap::from([("names".to_owned(), text.clone())]));
        let _ = Labels::fallback(12).find(&text);
    }
}

#[test]
fn lines_keep_their_shape_and_lose_their_power() {
    assert!(matches!(harmless("two\tcolumns\nof kätzchen — 猫"), Cow::Borrowed(_)));
    assert_eq!(harmless("a\u{1b}[2J\u{9b}1m\u{7}\r.onnx\n\u{202e}gpj"), "a?[2J?1m??.onnx\n?gpj");
}
