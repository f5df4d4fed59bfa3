//! Builds that read different versions share a cluster: what is written rises only when everybody
//! reads it.

use tandem_center::version::{NEWEST, OLDEST, Reads};
use tandem_center::{Center, Command, LoadError, NodeId, Reply};

use crate::script::{NODE, Script, agent};

const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);

/// What the builds of this flow read: the present one, and the next one.
const OLD: Reads = Reads { oldest: OLDEST, newest: OLDEST };
const NEW: Reads = Reads { oldest: OLDEST, newest: OLDEST + 1 };

fn three_nodes() -> Script {
    let mut script = Script::new();
    for node in [NODE, SECOND, THIRD] {
        starts(&mut script, node, OLD);
    }
    script
}

/// A node's process starts, and says what its build reads.
fn starts(script: &mut Script, node: NodeId, reads: Reads) {
    script.gives(Command::NodeUp { node, homes: Vec::new(), sockets_are_lost: true });
    script.gives(Command::Reads { node, reads, witness: false });
}

fn agree() -> Command {
    Command::Agree { version: OLDEST + 1, nodes: vec![NODE, SECOND, THIRD] }
}

#[test]
fn a_witness_is_asked_though_it_is_never_up() {
    let mut script = Script::new();
    starts(&mut script, NODE, NEW);
    starts(&mut script, SECOND, NEW);
    let says = |reads| Command::Reads { node: THIRD, reads, witness: true };
    script.gives(says(OLD));
    assert_eq!(script.gives(agree()), Reply::Already);
    script.gives(says(NEW));
    assert_eq!(script.gives(agree()), Reply::Done);
    let witness = script.center.node(THIRD).unwrap();
    assert!(witness.witness && !witness.up, "and it is given no calls");
    script.gives(Command::NodeUp { node: THIRD, homes: Vec::new(), sockets_are_lost: true });
    assert!(!script.center.node(THIRD).unwrap().witness);
}

#[test]
fn the_version_rises_when_the_last_voter_reads_the_new_one_and_does_not_fall() {
    let mut script = three_nodes();
    for node in [NODE, SECOND] {
        starts(&mut script, node, NEW);
        assert_eq!(script.gives(agree()), Reply::Already, "node 3 reads only the old one");
    }
    assert_eq!(script.center.version(), OLDEST);
    starts(&mut script, THIRD, NEW);
    assert_eq!(script.gives(agree()), Reply::Done);
    assert!(script.last.touched.version, "everything is stored anew");
    assert_eq!(script.center.version(), OLDEST + 1);
    assert_eq!(script.gives(agree()), Reply::Already);
    // A node is given its old program back. It will stop; the others go on as they agreed.
    starts(&mut script, THIRD, OLD);
    let lower = Command::Agree { version: OLDEST, nodes: vec![NODE, SECOND, THIRD] };
    assert_eq!(script.gives(lower), Reply::Already);
    assert_eq!(script.center.version(), OLDEST + 1);
}

#[test]
fn the_version_does_not_rise_while_a_voter_is_lost_or_was_started_again_and_said_nothing() {
    let mut script = three_nodes();
    for node in [NODE, SECOND, THIRD] {
        starts(&mut script, node, NEW);
    }
    // It may come back with either program.
    script.gives(Command::NodeLost { node: THIRD, silent_ms: 0 });
    assert_eq!(script.gives(agree()), Reply::Already);
    let reads = Command::Reads { node: THIRD, reads: NEW, witness: false };
    assert!(script.tries(reads.clone()).is_err(), "it is lost: this is old news");
    script.gives(Command::NodeUp { node: THIRD, homes: Vec::new(), sockets_are_lost: true });
    assert_eq!(script.gives(agree()), Reply::Already);
    script.gives(reads);
    assert_eq!(script.gives(agree()), Reply::Done);
}

#[test]
fn a_voter_that_never_spoke_keeps_the_version_where_it_is() {
    let mut script = three_nodes();
    for node in [NODE, SECOND, THIRD] {
        starts(&mut script, node, NEW);
    }
    let nodes = vec![NODE, SECOND, THIRD, NodeId(4)];
    assert_eq!(script.gives(Command::Agree { version: OLDEST + 1, nodes }), Reply::Already);
    assert_eq!(script.gives(Command::Agree { version: OLDEST + 1, nodes: vec![] }), Reply::Already);
}

#[test]
fn a_snapshot_is_of_the_version_that_was_agreed_on_and_an_older_build_refuses_it() {
    let mut script = three_nodes();
    assert_eq!(script.center.save()[4], OLDEST, "whatever the build could write");
    for node in [NODE, SECOND, THIRD] {
        starts(&mut script, node, NEW);
    }
    script.gives(agree());
    let snapshot = script.center.save();
    assert_eq!(snapshot[4], OLDEST + 1);
    let loaded = Center::load(&snapshot);
    assert_eq!(loaded.is_ok(), NEWEST > OLDEST, "a build that reads both reads it");
    match loaded {
        Ok(center) => {
            assert_eq!(center.version(), OLDEST + 1);
            assert_eq!(center.state_hash(), script.center.state_hash());
        }
        Err(error) => {
            assert!(matches!(error, LoadError::Foreign(_)), "{error}");
            let said = error.to_string();
            assert!(said.contains("the state has version 4, this program reads up to 3"), "{said}");
        }
    }
}

/// The same commands in the same version make the same state on every build. The number is what
/// both builds of this source make of them; a change of it is a change of what is stored or
/// decided, and needs a new version.
#[test]
fn a_state_of_version_3_is_the_same_on_every_build() {
    let mut script = three_nodes();
    starts(&mut script, THIRD, NEW);
    script.signs_in("ana", 11);
    script.dials("service");
    script.talks_with("ana");
    assert!(script.center.agent(&agent("ana")).is_some());
    assert_eq!(script.center.version(), 3);
    assert_eq!(format!("{:016x}", script.center.state_hash()), "01470d20d17caa31");
}
