//! Callers on a screening list get the status of their entry, and nobody else is touched.

mod support;

use support::inside::Inside;

const ENTRIES: &str = r#"
[[number]]
number = "echo"
echo = true

[[screen]]
pattern = "7*"
action = "deny"
status = 486

[[screen]]
pattern = "7100"
action = "allow"

[[screen]]
pattern = "8200"
action = "deny"
status = 404

[[screen]]
pattern = "anonymous"
action = "deny"
"#;

#[test]
fn a_caller_on_a_list_gets_the_status_of_the_entry_and_others_get_through() {
    let node = Inside::start("127.0.0.23", ENTRIES, &[]);
    let callers = [
        ("7200", 486),
        ("7100", 200),
        ("8200", 404),
        ("8201", 200),
        ("anonymous", 603),
        ("alice", 200),
    ];
    for (from, status) in callers {
        let mut caller = node.phone();
        let offer = caller.sdp("sendrecv");
        caller.calls(from, "echo", &offer);
        caller.is_told(status);
        if status == 200 {
            caller.acks("");
            caller.hangs_up();
        } else {
            caller.acks_refusal();
        }
    }
}
