//! Flows as callers live through them.

use std::collections::BTreeMap;

use super::*;

const FLOW: &str = r##"
title = "Test line"
start = "pick_up"
language = "en"

[variables]
tier = "none"

[steps.pick_up]
do = "answer"
next = "welcome"

[steps.welcome]
do = "play"
prompts = [{ file = "jingle.wav" }, "Welcome.", { text = "您好。", language = "zh" }]
next = "menu"

[steps.menu]
do = "menu"
prompts = "One for sales, two for your account."
invalid = "That is no choice."
no_input = "I did not hear you."
retries = 2
choices = { 1 = "sales", 2 = "account", 9 = "welcome", 77 = "bye" }
on_failure = "operator"

[steps.account]
do = "collect"
prompts = "Your number?"
invalid = "Too short."
digits_min = 4
digits_max = 6
variable = "account"
retries = 1
next = "look_up"
on_failure = "operator"

[steps.look_up]
do = "http"
url = "http://127.0.0.1:9/customers/{account}?from={caller_number}"
save = { name = "/name", tier = "/tier", limit = "/limit" }
on_ok = "sort"
on_error = "sales"

[steps.sort]
do = "branch"
cases = [
  { variable = "tier", equals = "gold", next = "greet" },
  { variable = "limit", at_least = 1000, next = "operator" },
]
otherwise = "sales"

[steps.greet]
do = "play"
prompts = ["Hello {name}.", { spell = "{account}" }]
barge_in = false
next = "gold"

[steps.gold]
do = "enqueue"
queue = "sales"
priority = 5
data = { customer = "{name} ({tier})", account = "{account}" }

[steps.sales]
do = "enqueue"
queue = "sales"

[steps.operator]
do = "transfer"
number = "{caller_number}"

[steps.bye]
do = "hang_up"
"##;

#[test]
fn a_caller_hears_the_menu_and_chooses_the_queue() {
    let mut call = Script::calls(FLOW);
    call.hears(&["jingle.wav", "en: Welcome.", "zh: 您好。"]).result(IvrResult::Finished);
    call.asks(&["en: One for sales, two for your account."], 2).presses("1");
    call.leaves(Next::Enqueue {
        queue: "sales".into(),
        priority: 0,
        data: BTreeMap::new(),
        answered: true,
    });
}

#[test]
fn a_wrong_key_and_silence_are_told_apart_and_the_third_failure_leads_on() {
    let mut call = Script::calls(FLOW);
    call.result(IvrResult::Finished).presses("5");
    call.asks(&["en: That is no choice.", "en: One for sales, two for your account."], 2);
    call.result(IvrResult::NoInput);
    call.asks(&["en: I did not hear you.", "en: One for sales, two for your account."], 2);
    call.presses("0").leaves(Next::Transfer { number: "+8613800138000".into(), answered: true });
}

#[test]
fn a_prompt_that_cannot_be_played_counts_as_no_input_and_the_call_goes_on() {
    let mut call = Script::calls(FLOW);
    let failed = || IvrResult::Failed { reason: "no voice".into() };
    call.result(failed()).asks(&["en: One for sales, two for your account."], 2);
    call.result(failed()).result(failed()).result(failed());
    call.leaves(Next::Transfer { number: "+8613800138000".into(), answered: true });
}

#[test]
fn a_key_during_the_greeting_is_the_choice_of_the_menu_behind_it() {
    let mut call = Script::calls(FLOW);
    call.presses("77").leaves(Next::HangUp { cause: HangUpCause::Normal, answered: true });
}

#[test]
fn part_of_a_choice_pressed_ahead_is_handed_to_the_menu() {
    let mut call = Script::calls(FLOW);
    call.presses("7");
    let Next::Act(position, Action::Collect { ahead, .. }) = &call.next else { panic!() };
    assert_eq!((ahead.as_str(), position.ahead.as_str()), ("7", "7"));
    call.presses("77").leaves(Next::HangUp { cause: HangUpCause::Normal, answered: true });
}

#[test]
fn keys_pressed_ahead_go_through_several_steps() {
    let mut call = Script::calls(FLOW);
    // The menu takes two keys at most; 2 alone is decided by its time-out, as heard here.
    call.result(IvrResult::Finished).presses("2").asks(&["en: Your number?"], 6);
    call.presses("123").asks(&["en: Too short.", "en: Your number?"], 6);
    call.presses("1234").requests("http://127.0.0.1:9/customers/1234?from=%2B8613800138000");
}

#[test]
fn a_look_up_fills_variables_for_prompts_and_for_the_agent() {
    let mut call = Script::calls(FLOW);
    call.result(IvrResult::Finished).presses("2").presses("123456");
    call.finds(&[("name", "Ana\r\nB"), ("tier", "gold")]);
    call.hears(&["en: Hello Ana  B.", "en: 1 2 3 4 5 6"]).result(IvrResult::Finished);
    let data = [("account", "123456"), ("customer", "Ana\r\nB (gold)")];
    call.leaves(Next::Enqueue {
        queue: "sales".into(),
        priority: 5,
        data: data.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        answered: true,
    });
}

#[test]
fn numbers_are_compared_as_numbers() {
    for (limit, to_operator) in [("999", false), ("1000.0", true), ("20000", true), ("n/a", false)]
    {
        let mut call = Script::calls(FLOW);
        call.result(IvrResult::Finished).presses("2").presses("1234").finds(&[("limit", limit)]);
        assert_eq!(matches!(call.next, Next::Transfer { .. }), to_operator, "{limit}");
    }
}

#[test]
fn a_web_service_that_fails_leads_to_the_fallback() {
    let results = [
        IvrResult::Http { ok: false, fields: BTreeMap::new() },
        IvrResult::Failed { reason: "no client".into() },
        IvrResult::Finished,
    ];
    for result in results {
        let mut call = Script::calls(FLOW);
        call.result(IvrResult::Finished).presses("2").presses("1234").result(result);
        assert!(matches!(&call.next, Next::Enqueue { queue, .. } if queue == "sales"));
    }
}

#[test]
fn a_field_that_the_second_answer_lacks_is_empty_not_stale() {
    let mut call = Script::calls(FLOW);
    call.result(IvrResult::Finished).presses("2").presses("1234").finds(&[("tier", "gold")]);
    assert_eq!(call.variables.get("tier"), Some("gold"));
    let mut again = Script::calls(FLOW);
    again.variables = call.variables;
    again.result(IvrResult::Finished).presses("2").presses("1234").finds(&[]);
    assert_eq!(again.variables.get("tier"), Some(""));
}

#[test]
fn a_loop_of_prompts_is_heard_again_when_a_key_interrupts_it() {
    let mut call = Script::calls(
        r#"
        start = "a"
        steps.a = { do = "answer", next = "b" }
        steps.b = { do = "play", prompts = "b", next = "c" }
        steps.c = { do = "play", prompts = "c", next = "b" }
        "#,
    );
    call.hears(&["en: b"]).presses("1").hears(&["en: b"]).result(IvrResult::Finished);
    call.hears(&["en: c"]);
}

#[test]
fn keys_do_not_get_past_a_prompt_that_must_be_heard() {
    let mut call = Script::calls(
        r#"
        start = "a"
        steps.a = { do = "answer", next = "b" }
        steps.b = { do = "play", prompts = "b", next = "law" }
        steps.law = { do = "play", prompts = "law", barge_in = false, next = "menu" }
        steps.menu = { do = "menu", choices = { 1 = "end" }, on_failure = "end" }
        steps.end = { do = "hang_up", cause = "busy" }
        "#,
    );
    call.presses("1").hears(&["en: law"]).result(IvrResult::Finished).asks(&[], 1);
    call.presses("1").leaves(Next::HangUp { cause: HangUpCause::Busy, answered: true });
}

#[test]
fn the_terminator_alone_skips_an_optional_number() {
    let mut call = Script::calls(
        r##"
        start = "a"
        steps.a = { do = "answer", next = "p" }
        steps.p = { do = "play", prompts = "p", next = "n" }
        steps.n = { do = "collect", digits_min = 0, digits_max = 9, variable = "n", next = "end", on_failure = "no" }
        steps.end = { do = "hang_up" }
        steps.no = { do = "hang_up", cause = "rejected" }
        "##,
    );
    call.presses("#").leaves(Next::HangUp { cause: HangUpCause::Normal, answered: true });
    assert_eq!(call.variables.get("n"), Some(""));
}

#[test]
fn values_cannot_leave_their_place_in_a_request() {
    let text = r#"
        start = "h"
        steps.h = { do = "http", method = "POST", url = "https://crm.example/c/{caller_name}/x?q={caller_name}", headers = { X-Name = "n={caller_name}" }, json = { name = "{caller_name}", n = 1, deep = [true, 1.5] }, on_ok = "e", on_error = "e" }
        steps.e = { do = "hang_up" }
    "#;
    let named = |name: &str| {
        let mut variables = Variables::of_call("1", name, "2");
        start(&Flow::parse("h", text).unwrap(), &mut variables)
    };
    let Next::Act(_, Action::Http(request)) = named("a/b?\r\nX: \"é") else { panic!() };
    assert_eq!(
        request.url,
        "https://crm.example/c/a%2Fb%3F%0D%0AX%3A%20%22%C3%A9/x?q=a%2Fb%3F%0D%0AX%3A%20%22%C3%A9"
    );
    assert_eq!(request.headers, [("X-Name".to_owned(), "n=a/b???X: \"?".to_owned())]);
    assert_eq!(
        request.body.as_deref(),
        Some(r#"{"deep":[true,1.5],"n":1,"name":"a/b?\u000d\u000aX: \"é"}"#)
    );
    // A path of `..` would ask for something else: the step fails instead.
    let ended = Next::HangUp { cause: HangUpCause::Normal, answered: false };
    assert_eq!(named(".."), ended);
}

#[test]
fn a_long_chain_of_steps_ends_the_call_instead_of_spinning() {
    let mut text = "start = \"s0\"\n".to_owned();
    for n in 0..STEPS_PER_TRANSITION_MAX {
        text += &format!("steps.s{n} = {{ do = \"answer\", next = \"s{}\" }}\n", n + 1);
    }
    text += &format!("steps.s{STEPS_PER_TRANSITION_MAX} = {{ do = \"hang_up\" }}\n");
    let call = Script::calls(&text);
    assert_eq!(call.next, Next::HangUp { cause: HangUpCause::Failure, answered: true });
}

#[test]
fn a_position_of_another_flow_ends_the_call_with_a_failure() {
    let mut call = Script::calls(FLOW);
    let Next::Act(position, _) = &mut call.next else { panic!() };
    position.step = "gone".into();
    call.result(IvrResult::Finished)
        .leaves(Next::HangUp { cause: HangUpCause::Failure, answered: true });
}

#[test]
fn the_waiting_action_is_made_anew_from_flow_position_and_variables() {
    let mut call = Script::calls(FLOW);
    for result in [
        IvrResult::Finished,
        IvrResult::NoInput,
        IvrResult::Digits { digits: "2".into() },
        IvrResult::Digits { digits: "1".into() },
        IvrResult::Digits { digits: "1234".into() },
    ] {
        let Next::Act(position, action) = &call.next else { panic!() };
        let anew = action_at(&call.flow, &position.at_offset(1_500), &call.variables);
        assert_eq!(anew.as_ref(), Some(action));
        call.result(result);
    }
}

#[test]
fn a_flow_says_what_it_leads_to_and_what_can_be_spoken_beforehand() {
    let flow = Flow::parse("test", FLOW).unwrap();
    assert_eq!(flow.queues().into_iter().collect::<Vec<_>>(), ["sales"]);
    let prompts: Vec<_> = flow.fixed_prompts().into_iter().collect();
    assert_eq!(
        words(&prompts),
        [
            "jingle.wav",
            "en: I did not hear you.",
            "en: One for sales, two for your account.",
            "en: That is no choice.",
            "en: Too short.",
            "en: Welcome.",
            "en: Your number?",
            "zh: 您好。",
        ]
    );
}

#[test]
fn all_that_a_call_keeps_of_its_flow_survives_being_stored() {
    let mut call = Script::calls(FLOW);
    let mut kept = Vec::new();
    for keys in ["7", "2", "1234"] {
        kept.push(call.next.clone());
        call.presses(keys);
    }
    kept.push(call.next.clone());
    for next in kept {
        let Next::Act(position, action) = next else { panic!("{next:?}") };
        let value = (position, action, call.variables.clone());
        let bytes = postcard::to_stdvec(&value).unwrap();
        assert_eq!(postcard::from_bytes(&bytes), Ok(value));
    }
    let bytes = postcard::to_stdvec(&call.flow).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(call.flow));
    let result = IvrResult::Http { ok: true, fields: BTreeMap::new() };
    let bytes = postcard::to_stdvec(&result).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(result));
}

#[test]
fn whatever_a_caller_and_the_node_do_there_is_a_next_thing() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..300 {
        let mut call = Script::calls(FLOW);
        for _ in 0..30 {
            let Next::Act(position, _) = &call.next else { break };
            assert!(call.flow.step(&position.step).is_some());
            assert!(position.attempt <= 2 && position.answered);
            assert!(position.ahead.len() <= usize::from(DIGITS_MAX));
            let keys: String =
                (0..random(100)).map(|_| char::from(b"0123456789*#ABCDx\0"[random(18)])).collect();
            let result = match random(6) {
                0 => IvrResult::Finished,
                1 => IvrResult::NoInput,
                2 => IvrResult::Failed { reason: "it is late".into() },
                3 => IvrResult::Http {
                    ok: random(2) == 0,
                    fields: [("tier".to_owned(), "gold".repeat(random(1_000)))].into(),
                },
                _ => IvrResult::Digits { digits: keys },
            };
            call.result(result);
        }
        assert!(call.variables.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX));
    }
}

/// One call in one flow.
struct Script {
    flow: Flow,
    variables: Variables,
    next: Next,
}

impl Script {
    fn calls(text: &str) -> Self {
        let flow = Flow::parse("test", text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let mut variables = Variables::of_call("+8613800138000", "Ana", "10086");
        let next = start(&flow, &mut variables);
        Self { flow, variables, next }
    }

    fn result(&mut self, result: IvrResult) -> &mut Self {
        let Next::Act(position, _) = &self.next else { panic!("over: {:?}", self.next) };
        self.next = resume(&self.flow, &position.clone(), result, &mut self.variables);
        self
    }

    fn presses(&mut self, digits: &str) -> &mut Self {
        self.result(IvrResult::Digits { digits: digits.into() })
    }

    fn finds(&mut self, fields: &[(&str, &str)]) -> &mut Self {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.result(IvrResult::Http { ok: true, fields })
    }

    fn hears(&mut self, expected: &[&str]) -> &mut Self {
        let Next::Act(_, Action::Play { prompts, .. }) = &self.next else {
            panic!("{:?}", self.next)
        };
        assert_eq!(words(prompts), expected);
        self
    }

    fn asks(&mut self, expected: &[&str], digits: u16) -> &mut Self {
        let Next::Act(_, Action::Collect { prompts, digits_max, .. }) = &self.next else {
            panic!("{:?}", self.next)
        };
        assert_eq!(
            (words(prompts), *digits_max),
            (expected.iter().map(|s| (*s).into()).collect(), digits)
        );
        self
    }

    fn requests(&mut self, url: &str) -> &mut Self {
        let Next::Act(_, Action::Http(request)) = &self.next else { panic!("{:?}", self.next) };
        assert_eq!(request.url, url);
        self
    }

    fn leaves(&mut self, expected: Next) {
        assert_eq!(self.next, expected);
    }
}

fn words(prompts: &[Prompt]) -> Vec<String> {
    let word = |prompt: &Prompt| match prompt {
        Prompt::File(name) => name.clone(),
        Prompt::Text { language, text } => format!("{language}: {text}"),
    };
    prompts.iter().map(word).collect()
}
