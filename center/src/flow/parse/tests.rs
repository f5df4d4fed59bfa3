//! What an administrator is told about a file that is wrong.

use std::collections::BTreeSet;

use super::*;
use crate::flow::{HangUpCause, Step};

/// A right flow, into which the tests put mistakes.
const RIGHT: &str = r##"title = "Shop"
start = "hello"

[steps.hello]
do = "answer"
next = "menu"

[steps.menu]
do = "menu"
prompts = [{ file = "menu.wav" }]
choices = { 1 = "sales", 2 = "number" }
on_failure = "bye"

[steps.number]
do = "collect"
digits_max = 4
variable = "account"
next = "look_up"
on_failure = "bye"

[steps.look_up]
do = "http"
url = "http://crm.example/{account}"
on_ok = "sales"
on_error = "bye"

[steps.sales]
do = "enqueue"
queue = "sales"

[steps.bye]
do = "hang_up"
cause = "busy"
"##;

#[test]
fn a_right_flow_has_its_steps_and_a_version_of_its_content() {
    let flow = Flow::parse_in("shop", RIGHT, &around()).unwrap();
    assert_eq!(
        (&*flow.name, &*flow.title, &*flow.start, flow.steps.len()),
        ("shop", "Shop", "hello", 6)
    );
    assert_eq!(flow.step("bye"), Some(&Step::HangUp { cause: HangUpCause::Busy }));
    assert_eq!(flow.version, Flow::parse("other name", RIGHT).unwrap().version);
    let changed = RIGHT.replace("Shop", "Shop 2");
    assert_ne!(flow.version, Flow::parse("shop", &changed).unwrap().version);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = RIGHT
        .replace("next = \"menu\"", "next = \"meun\"")
        .replace("menu.wav", "mneu.wav")
        .replace("digits_max = 4", "digits_max = 400")
        .replace("queue = \"sales\"", "queue = \"slaes\"\npriorty = 3");
    assert_eq!(
        errors(&text),
        [
            "6:8: there is no step `meun`; did you mean `menu`?",
            "10:21: there is no prompt file `mneu.wav`; did you mean `menu.wav`?",
            "16:14: `digits_max` of step `number` must be 1 to 64, not 400",
            "29:9: there is no queue `slaes`; did you mean `sales`?",
            "30:1: step `sales` knows no `priorty`; did you mean `priority`?",
        ]
    );
}

/// What is right, what is written instead, what is told.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("title =", "tittle =", "1:1: the flow knows no `tittle`; did you mean `title`?"),
    ("start = \"hello\"\n", "\n", "1:1: the flow has no `start`"),
    ("\"hello\"", "\"helo\"", "2:9: there is no step `helo`; did you mean `hello`?"),
    (
        "do = \"answer\"",
        "do = \"awnser\"",
        "5:6: `do` of step `hello` cannot be `awnser`; did you mean `answer`?",
    ),
    ("do = \"answer\"\n", "\n", "4:8: step `hello` has no `do`"),
    ("next = \"menu\"", "next = 5", "6:8: `next` of step `hello` must be a text, not a number"),
    ("next = \"menu\"", "next = \"bye\"", "8:8: step `menu` is never reached"),
    (
        "1 = \"sales\"",
        "1x = \"sales\"",
        "11:13: `1x` cannot be pressed: one to four of the keys 0 to 9, * and #",
    ),
    (
        "{ file = \"menu.wav\" }",
        "{ file = \"a.wav\", text = \"a\" }",
        "10:12: an item of `prompts` of step `menu` needs one of `file`, `text` and `spell`",
    ),
    (
        "menu.wav",
        "../../etc/passwd",
        "10:21: `../../etc/passwd` is no name of a file in the prompt directory",
    ),
    (
        "{ file = \"menu.wav\" }",
        "{ text = \"a\", language = \"fr\" }",
        "10:37: no voice speaks language `fr`; there is `en`, `zh`",
    ),
    (
        "{ file = \"menu.wav\" }",
        "\"Hello {nmae}\"",
        "10:12: no step sets variable `nmae`; there is `account`, `caller_number`, `caller_name`, `called_number`",
    ),
    (
        "{ file = \"menu.wav\" }",
        "\"Hello {name\"",
        "10:12: an item of `prompts` of step `menu`: `{` is not closed; write `{{` for a brace itself",
    ),
    ("{account}", "{acount}", "23:7: no step sets variable `acount`; did you mean `account`?"),
    (
        "http://crm.example/",
        "http://",
        "23:7: a variable cannot be part of the host: write `/` before it",
    ),
    (
        "http://crm.example/",
        "ftp://crm.example/",
        "23:7: `url` of step `look_up` must begin with `http://` or `https://`",
    ),
    (
        "http://crm.example/",
        "http://crm.example/../",
        "23:7: `url` of step `look_up` has a space, or a `.` or `..` between slashes",
    ),
    (
        "on_error = \"bye\"\n",
        "on_error = \"bye\"\nheaders = { Host = \"x\" }\n",
        "26:13: the header `Host` is not yours to set",
    ),
    (
        "on_error = \"bye\"\n",
        "on_error = \"bye\"\nsave = { name = \"name\" }\n",
        "26:17: `name` is no JSON pointer: it begins with `/`, as in `/customer/name`",
    ),
    (
        "on_error = \"bye\"\n",
        "on_error = \"bye\"\njson = { a = 1 }\n",
        "26:8: a GET has no `json`: use POST, PUT, PATCH or DELETE",
    ),
    (
        "variable = \"account\"",
        "variable = \"Account\"",
        "17:12: `Account` is no name of a variable: small letters, digits and underscores, beginning with a letter",
    ),
    (
        "cause = \"busy\"",
        "cause = \"bussy\"",
        "33:9: `cause` of step `bye` cannot be `bussy`; did you mean `busy`?",
    ),
];

#[test]
fn each_mistake_is_told_at_its_place() {
    for (right, wrong, error) in MISTAKES {
        let text = RIGHT.replacen(right, wrong, 1);
        assert_ne!(text, RIGHT, "{right}");
        let errors = errors(&text);
        assert!(errors.iter().any(|found| found == error), "{wrong}: {errors:#?}");
    }
}

#[test]
fn one_mistake_is_not_told_twice() {
    // The misspelt target would make its step unreachable, the misspelt kind its targets.
    let text = RIGHT.replace("do = \"collect\"", "do = \"colect\"");
    assert_eq!(
        errors(&text)[0],
        "15:6: `do` of step `number` cannot be `colect`; did you mean `collect`?"
    );
    // The variable which that step would have set is the only other error.
    assert_eq!(errors(&text).len(), 2, "{:#?}", errors(&text));
}

#[test]
fn errors_of_the_grammar_come_alone_with_their_places() {
    let text = RIGHT.replace("next = \"menu\"", "next = \"menu").replace("\"bye\"", "\"by\"");
    let found = errors(&text);
    assert!(found[0].starts_with("6:"), "{found:?}");
    let twice = format!("{RIGHT}\n[steps.bye]\ndo = \"hang_up\"\n");
    let found = errors(&twice);
    assert!(found[0].starts_with("35:") && found[0].contains("duplicate"), "{found:?}");
}

#[test]
fn a_loop_that_nobody_hears_is_refused() {
    let text = RIGHT.replace("on_error = \"bye\"", "on_error = \"again\"")
        + "[steps.again]\ndo = \"branch\"\notherwise = \"look_up\"\ncases = [{ variable = \"account\", equals = 1, next = \"bye\" }]\n";
    assert_eq!(
        errors(&text),
        [
            "21:8: the loop `look_up` → `again` → `look_up` has no prompt and no key: the call would never end"
        ]
    );
    // Through the menu, a caller hears it, and may hang up.
    let heard = text.replace("otherwise = \"look_up\"", "otherwise = \"menu\"");
    assert_eq!(errors(&heard), [""; 0]);
}

#[test]
fn a_prompt_before_the_answer_is_refused() {
    let text = RIGHT
        .replace("start = \"hello\"", "start = \"menu\"")
        .replace("on_ok = \"sales\"", "on_ok = \"hello\"");
    let call = "is heard before the call is answered: put a step with `do = \"answer\"` before it";
    assert_eq!(
        errors(&text),
        [format!("8:8: step `menu` {call}"), format!("14:8: step `number` {call}")]
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    let text = "title = \"呼叫中心\"\nstart = \"a\"\nsteps.a = { do = \"answer\", title = \"您好\", nxet = \"a\" }";
    assert_eq!(
        errors(text),
        [
            "3:7: step `a` has no `next`",
            "3:28: step `a` knows no `title`; there is `do`, `next`",
            "3:42: step `a` knows no `nxet`; did you mean `next`?",
        ]
    );
}

#[test]
fn a_file_that_is_too_large_or_no_text_at_all_is_refused() {
    assert_eq!(errors(&"#".repeat(FLOW_BYTES_MAX + 1)).len(), 1);
    assert!(!errors("").is_empty());
    assert!(!errors("\u{0}\u{1}[[[").is_empty());
    assert!(!errors(&format!("a = {}", "[".repeat(100_000))).is_empty());
    let many = |body: &str| -> String {
        let steps = (0..=STEPS_MAX).map(|n| format!("steps.step_number_{n} = {body}\n"));
        format!("start = \"x\"\n{}", steps.collect::<String>())
    };
    assert_eq!(errors(&many("{}")).len(), ERRORS_MAX);
    assert_eq!(errors(&many("{ do = \"answer\", next = \"step_number_x\" }")).len(), ERRORS_MAX);
}

#[test]
fn a_language_with_a_region_is_spoken_by_its_language() {
    let text = RIGHT.replace("{ file = \"menu.wav\" }", "{ text = \"a\", language = \"zh-CN\" }");
    assert_eq!(errors(&text), [""; 0]);
}

/// A crude fuzzer: every cut and many changed bytes of a right file end in a flow or in
/// errors with a place, never in a panic.
#[test]
fn no_cut_or_changed_file_panics() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for end in 0..RIGHT.len() {
        let _ = Flow::parse("cut", &RIGHT[..end]);
    }
    for _ in 0..3_000 {
        let mut bytes = RIGHT.as_bytes().to_vec();
        for _ in 0..=random() % 4 {
            let at = random() % bytes.len();
            bytes[at] = b"\"'{}[]=.#\n\\x0-,"[random() % 15];
        }
        let text = String::from_utf8(bytes).unwrap();
        if let Err(errors) = Flow::parse_in("changed", &text, &around()) {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|e| e.line >= 1 && e.column >= 1));
        }
    }
}

fn around() -> Surroundings {
    let names =
        |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    Surroundings {
        prompts: names(&["menu.wav", "jingle.wav"]),
        queues: names(&["sales", "support"]),
        languages: names(&["en", "zh"]),
    }
}

fn errors(text: &str) -> Vec<String> {
    match Flow::parse_in("test", text, &around()) {
        Ok(_) => vec![],
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}
