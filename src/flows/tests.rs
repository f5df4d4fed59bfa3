//! The folder of flows under an administrator's hands, and the flows and the manual that are
//! shipped.

use std::sync::Mutex;

use tandem_center::flow::{Action, HangUpCause, IvrResult, Next, Prompt, Variables, resume, start};

use super::*;
use crate::speech::files_below;

const GOOD: &str = "start = \"end\"\nsteps.end = { do = \"hang_up\" }\n";
const WRONG: &str = "start = \"end\"\nsteps.end = { do = \"hangup\" }\n";

#[test]
fn a_saved_change_is_a_new_version_and_the_same_bytes_are_not() {
    let mut desk = Desk::new("change");
    desk.saves("shop.toml", GOOD).looks().finds(&["shop"], &[], &[]);
    desk.looks().finds(&[], &[], &[]);
    desk.saves("shop.toml", GOOD).looks().finds(&[], &[], &[]);
    let before = desk.folder.flows()["shop"].version;
    desk.saves("shop.toml", &format!("title = \"2\"\n{GOOD}")).looks().finds(&["shop"], &[], &[]);
    assert_ne!(desk.folder.flows()["shop"].version, before);
    assert!(desk.folder.texts()["shop"].starts_with("title"));
}

#[test]
fn a_wrong_file_leaves_the_good_version_in_use_and_is_told_once() {
    let mut desk = Desk::new("wrong");
    desk.saves("shop.toml", GOOD).looks().finds(&["shop"], &[], &[]);
    let version = desk.folder.flows()["shop"].version;
    let told = format!(
        "shop.toml:2:20: `do` of step `end` cannot be `hangup`; did you mean `hang_up`? \
         (version {version} of the flow stays in use)"
    );
    desk.saves("shop.toml", WRONG).looks().finds(&[], &[], &[&told]);
    desk.looks().finds(&[], &[], &[]);
    assert_eq!(desk.folder.errors().len(), 1);
    assert_eq!(desk.folder.flows()["shop"].version, version);
    // Back to what it was: nothing changed for callers.
    desk.saves("shop.toml", GOOD).looks().finds(&[], &[], &[]);
    assert_eq!(desk.folder.errors(), []);
}

#[test]
fn a_file_that_was_never_right_is_not_in_use() {
    let mut desk = Desk::new("never");
    let told = "shop.toml:2:20: `do` of step `end` cannot be `hangup`; did you mean `hang_up`? \
                (the flow is not in use)";
    desk.saves("shop.toml", WRONG).looks().finds(&[], &[], &[told]);
    assert!(desk.folder.flows().is_empty());
}

#[test]
fn all_errors_of_all_files_are_told_at_once() {
    let mut desk = Desk::new("all");
    desk.saves("a.toml", WRONG).saves("b.toml", "start =").saves("bad name!.toml", GOOD);
    fs::write(desk.path("c.toml"), b"title = \"ok\"\nstart = \"\xff\"").unwrap();
    desk.saves("notes.txt", "not a flow").looks();
    let lines: Vec<String> =
        desk.told.iter().map(|line| line.split(" (").next().unwrap().into()).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].starts_with("a.toml:2:20: "), "{lines:#?}");
    assert!(lines[1].starts_with("b.toml:1:"), "{lines:#?}");
    assert!(lines[2].starts_with("bad name!.toml:1:1: the file's name is no name"), "{lines:#?}");
    assert_eq!(lines[3], "c.toml:1:1: line 2 is not UTF-8: save the file in that encoding");
}

#[test]
fn a_file_is_gone_only_when_it_is_missing_twice() {
    let mut desk = Desk::new("gone");
    desk.saves("shop.toml", GOOD).looks().finds(&["shop"], &[], &[]);
    fs::remove_file(desk.path("shop.toml")).unwrap();
    desk.looks().finds(&[], &[], &[]);
    desk.saves("shop.toml", GOOD).looks().finds(&[], &[], &[]);
    fs::remove_file(desk.path("shop.toml")).unwrap();
    desk.looks().finds(&[], &[], &[]);
    desk.looks().finds(&[], &["shop"], &[]);
    assert!(desk.folder.flows().is_empty());
}

#[test]
fn a_prompt_that_comes_later_makes_the_flow_right() {
    let mut desk = Desk::new("prompt");
    desk.around.prompts = Some(BTreeSet::new());
    let text = "start = \"a\"\nsteps.a = { do = \"answer\", next = \"b\" }\n\
                steps.b = { do = \"play\", prompts = { file = \"hi.wav\" }, next = \"c\" }\n\
                steps.c = { do = \"hang_up\" }\n";
    let told = "shop.toml:3:45: there is no prompt file `hi.wav` (the flow is not in use)";
    desk.saves("shop.toml", text).looks().finds(&[], &[], &[told]);
    desk.around.prompts = Some(["hi.wav".to_owned()].into());
    desk.looks().finds(&["shop"], &[], &[]);
    // And one that goes leaves the flow as it is, with a word about it.
    desk.around.prompts = Some(BTreeSet::new());
    desk.looks();
    assert!(desk.told[0].contains("stays in use"), "{:?}", desk.told);
    assert_eq!(desk.folder.flows().len(), 1);
}

#[test]
fn a_folder_that_is_gone_leaves_the_flows_in_use() {
    let mut desk = Desk::new("folder");
    desk.saves("shop.toml", GOOD).looks().finds(&["shop"], &[], &[]);
    fs::remove_dir_all(&desk.folder.folder).unwrap();
    assert!(desk.folder.look(&desk.around).is_err());
    assert_eq!(desk.folder.flows().len(), 1);
}

#[tokio::test]
async fn a_running_node_hears_of_a_change() {
    let mut desk = Desk::new("watch");
    desk.saves("shop.toml", GOOD).looks();
    let path = desk.path("shop.toml");
    let heard: Arc<Mutex<Vec<Look>>> = Arc::default();
    let tell = {
        let heard = heard.clone();
        move |_: &FlowFolder, look: &Look| heard.lock().unwrap().push(look.clone())
    };
    let watching =
        tokio::spawn(watch(desk.folder, Duration::from_millis(5), Surroundings::default, tell));
    fs::write(&path, format!("title = \"2\"\n{GOOD}")).unwrap();
    for _ in 0..500 {
        if !heard.lock().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    watching.abort();
    assert!(heard.lock().unwrap()[0].changed.contains("shop"));
}

#[test]
fn the_shipped_flows_are_right_for_the_shipped_configuration() {
    let around = Surroundings {
        prompts: Some(files_below(&shipped("config/prompts"))),
        queues: Some(["sales".into(), "support".into()].into()),
        languages: Some(["en".into(), "zh".into()].into()),
    };
    for folder in ["config/flows", "config/flows/bench"] {
        let mut folder = FlowFolder::new(shipped(folder));
        let look = folder.look(&around).unwrap();
        assert_eq!(look.errors, []);
        assert!(look.changes_something());
    }
    for (name, text) in BUILT_IN {
        Flow::parse_in(name, text, &around).unwrap();
    }
}

#[test]
fn the_demonstration_takes_a_caller_to_sales_support_and_the_echo() {
    let enqueued =
        |next: &Next, id: &str| matches!(next, Next::Enqueue { queue, .. } if queue == id);
    let mut call = Call::of("config/flows/demo.toml");
    assert_eq!(call.heard(), ["en: Welcome to Tandem.", "zh: 您好，欢迎致电。"]);
    assert!(enqueued(call.ends().presses("1"), "sales"));
    assert!(enqueued(Call::of("config/flows/demo.toml").ends().presses("0"), "support"));
    let next = Call::of("config/flows/demo.toml").ends().presses("3").clone();
    assert_eq!(next, Next::Transfer { number: "echo".into(), answered: true });

    let mut call = Call::of("config/flows/demo.toml");
    call.ends().presses("9");
    let menu = call.heard();
    call.presses("2");
    call.presses("4711");
    assert!(matches!(&call.next, Next::Act(_, Action::Http(ask)) if ask.url.contains("/4711?")));
    // Nothing listens there: the fallback reads the number back and goes on to support.
    call.result(IvrResult::Http { ok: false, fields: BTreeMap::new() });
    assert_eq!(call.heard()[1], "en: 4 7 1 1");
    assert!(enqueued(&call.ends().next, "support"));
    assert_eq!(menu.len(), 2);
}

#[test]
fn the_load_test_tells_right_digits_from_wrong_ones() {
    for (digits, cause) in [("1234", HangUpCause::Normal), ("4321", HangUpCause::Rejected)] {
        let mut call = Call::of("config/flows/bench/ivr.toml");
        assert_eq!(*call.presses(digits), Next::HangUp { cause, answered: true });
    }
    let mut silent = Call::of("config/flows/bench/ivr.toml");
    silent.result(IvrResult::NoInput);
    assert_eq!(silent.next, Next::HangUp { cause: HangUpCause::Rejected, answered: true });
}

#[test]
fn every_example_of_the_manual_is_right() {
    let manual = fs::read_to_string(shipped("docs/flows.md")).unwrap();
    let examples: Vec<&str> =
        (manual.split("```toml\n").skip(1)).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 12, "{}", examples.len());
    for example in examples {
        let text =
            if example.contains("\nstart = ") { example.to_owned() } else { framed(example) };
        if let Err(errors) = Flow::parse("example", &text) {
            panic!("{text}\n{}", errors.iter().map(|e| format!("{e}\n")).collect::<String>());
        }
    }
}

#[test]
fn the_manual_names_every_step_every_key_and_every_cause() {
    let manual = fs::read_to_string(shipped("docs/flows.md")).unwrap();
    let unknown = |text: &str| {
        let errors = Flow::parse("x", text).unwrap_err();
        let listed = errors.iter().find(|e| e.message.contains("there is `")).unwrap();
        let names = listed.message.split("there is ").nth(1).unwrap();
        names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>()
    };
    let top = manual.split("\n## Steps").next().unwrap();
    for key in unknown("qqqqqqqqqqqq = 1") {
        assert!(top.contains(&format!("| `{key}` |")), "{key}");
    }
    let kinds = unknown("start = \"a\"\nsteps.a = { do = \"qqqqqqqqqqqq\" }");
    assert_eq!(kinds.len(), 10);
    for kind in kinds {
        let section = manual.split(&format!("\n### `{kind}`\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("no section of `{kind}`"));
        let section = section.split("\n##").next().unwrap();
        let keys =
            unknown(&format!("start = \"a\"\nsteps.a = {{ do = \"{kind}\", qqqqqqqqqqqq = 1 }}"));
        for key in keys.iter().filter(|key| *key != "do") {
            assert!(section.contains(&format!("`{key}`")), "`{key}` of `{kind}`");
        }
    }
    for (name, cause) in HangUpCause::NAMES {
        let row = format!("| `{name}` | {} | {} |", cause.q850(), cause.sip_status());
        assert!(manual.contains(&row), "{row}");
    }
}

/// A part of a flow, made whole: its steps are reached from a menu, and what they lead to and
/// what they read is there.
fn framed(part: &str) -> String {
    let names: Vec<&str> =
        (part.lines()).filter_map(|line| line.strip_prefix("[steps.")?.strip_suffix(']')).collect();
    let choices: String =
        names.iter().enumerate().map(|(n, name)| format!("{} = \"{name}\", ", n + 1)).collect();
    let mut frame = format!(
        "\n[steps.frame]\ndo = \"answer\"\nnext = \"frame_menu\"\n\n[steps.frame_menu]\ndo = \"menu\"\n\
         choices = {{ {choices} }}\non_failure = \"frame_end\"\n\n[steps.frame_end]\ndo = \"hang_up\"\n"
    );
    let mut variables = String::new();
    let whole = |frame: &str, variables: &str| {
        format!("start = \"frame\"\n\n[variables]\n{variables}\n{part}{frame}")
    };
    let mut made = BTreeSet::new();
    for error in Flow::parse("part", &whole(&frame, &variables)).err().into_iter().flatten() {
        let named = |begin: &str| {
            let rest = error.message.strip_prefix(begin)?;
            rest.split('`').next().map(str::to_owned)
        };
        if let Some(step) = named("there is no step `").filter(|step| made.insert(step.clone())) {
            frame += &format!("\n[steps.{step}]\ndo = \"hang_up\"\n");
        }
        if let Some(name) = named("no step sets variable `").filter(|n| made.insert(n.clone())) {
            variables += &format!("{name} = \"0\"\n");
        }
    }
    whole(&frame, &variables)
}

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An administrator at work in a folder.
struct Desk {
    folder: FlowFolder,
    around: Surroundings,
    look: Look,
    told: Vec<String>,
}

impl Desk {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tandem-flows-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let folder = FlowFolder::new(path);
        Self { folder, around: Surroundings::default(), look: Look::default(), told: vec![] }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.folder.join(file)
    }

    fn saves(&mut self, file: &str, text: &str) -> &mut Self {
        fs::write(self.path(file), text).unwrap();
        self
    }

    fn looks(&mut self) -> &mut Self {
        self.look = self.folder.look(&self.around).unwrap();
        let folder = format!("{}/", self.folder.folder.display());
        let told = self.look.errors.iter().map(|error| error.to_string().replace(&folder, ""));
        self.told = told.collect();
        self
    }

    fn finds(&mut self, changed: &[&str], removed: &[&str], told: &[&str]) {
        let names = |names: &BTreeSet<FlowName>| {
            names.iter().map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&self.look.changed), changed);
        assert_eq!(names(&self.look.removed), removed);
        assert_eq!(self.told, told);
    }
}

/// A call in a shipped flow.
struct Call {
    flow: Flow,
    variables: Variables,
    next: Next,
}

impl Call {
    fn of(path: &str) -> Self {
        let flow = Flow::parse("shipped", &fs::read_to_string(shipped(path)).unwrap()).unwrap();
        let mut variables = Variables::of_call("+8613800138000", "", "1000");
        let next = start(&flow, &mut variables);
        Self { flow, variables, next }
    }

    fn result(&mut self, result: IvrResult) -> &mut Self {
        let Next::Act(position, _) = &self.next else { panic!("over: {:?}", self.next) };
        self.next = resume(&self.flow, &position.clone(), result, &mut self.variables);
        self
    }

    fn ends(&mut self) -> &mut Self {
        self.result(IvrResult::Finished)
    }

    fn presses(&mut self, digits: &str) -> &Next {
        &self.result(IvrResult::Digits { digits: digits.into() }).next
    }

    fn heard(&self) -> Vec<String> {
        let Next::Act(_, Action::Play { prompts, .. } | Action::Collect { prompts, .. }) =
            &self.next
        else {
            panic!("{:?}", self.next)
        };
        let word = |prompt: &Prompt| match prompt {
            Prompt::File(name) => name.clone(),
            Prompt::Text { language, text } => format!("{language}: {text}"),
        };
        prompts.iter().map(word).collect()
    }
}
