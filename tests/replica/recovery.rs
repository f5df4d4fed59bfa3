//! A minority is made the cluster by an operator, and nobody of before gets in.

use crate::counter::{Node, addresses, count, counted, start, steps, stop, wait_for};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tandem::replica::{ReplicaConfig, StartError};
use tandem_cluster::{MembershipChange, NodeId};

type Members = BTreeMap<NodeId, SocketAddr>;

/// A replica as a node has it: in a folder of its data directory.
fn start_in(
    node: NodeId,
    data: &Path,
    members: &Members,
    change: impl FnOnce(&mut ReplicaConfig),
) -> Result<Node, StartError> {
    start(node, data, members, |config| {
        config.data = config.data.join("replica");
        change(config);
    })
}

fn recover(data: &Path, node: NodeId, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["recover", "--node", &node.to_string(), "--data"])
        .arg(data.join(format!("node{node}")))
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The code that it says.
fn code(output: &Output) -> String {
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    said.split('"').nth(1).unwrap().to_owned()
}

/// Three nodes that have counted to three, all stopped again.
fn three(data: &Path, members: &Members) {
    let nodes: Vec<_> =
        (1..=3).map(|node| start_in(node, data, members, |_| ()).unwrap()).collect();
    for node in &nodes {
        count(node, "a");
    }
    nodes.iter().for_each(|node| wait_for("everywhere", || counted(node, "a") == 3));
    nodes.into_iter().for_each(stop);
}

#[test]
fn without_a_confirmation_nothing_is_changed() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    three(data.path(), &members);
    for more in [&[][..], &["--yes-i-accept-loss", "node-2-alone"]] {
        let refused = recover(data.path(), 3, more);
        assert!(!refused.status.success());
        let (said, complained) = (text(&refused.stdout), text(&refused.stderr));
        assert!(said.contains("voters       node 1, node 2, node 3"), "{said}");
        assert!(said.contains("is lost"), "{said}");
        assert!(complained.contains("--yes-i-accept-loss node-3-alone"), "{complained}");
    }
    let majority = ["--with", "2", "--yes-i-accept-loss", "node-2-3-alone"];
    let refused = text(&recover(data.path(), 3, &majority).stderr);
    assert!(refused.contains("are a majority"), "{refused}");
    let refused = text(&recover(data.path(), 2, &["--data", "/nonexistent"]).stderr);
    assert!(refused.contains("cannot be used multiple times"), "{refused}");
    // The three go on as ever.
    let nodes: Vec<_> =
        (1..=3).map(|node| start_in(node, data.path(), &members, |_| ()).unwrap()).collect();
    assert_eq!(count(&nodes[0], "a"), 4);
    let refused = text(&recover(data.path(), 3, &[]).stderr);
    assert!(refused.contains("is in use by another process"), "{refused}");
    nodes.into_iter().for_each(stop);
}

#[test]
fn the_node_that_is_left_goes_on_alone_and_takes_new_members() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(4);
    let first: Members = members.iter().take(3).map(|(node, at)| (*node, *at)).collect();
    three(data.path(), &first);
    let code = code(&recover(data.path(), 3, &["--yes-i-accept-loss", "node-3-alone"]));

    let refused = start_in(3, data.path(), &first, |_| ()).unwrap_err();
    assert!(matches!(&refused, StartError::Recovered { code: of } if *of == code), "{refused}");
    let knows = |config: &mut ReplicaConfig| config.recovery = Some(code.clone());
    let survivor = start_in(3, data.path(), &first, knows).unwrap();
    assert_eq!((counted(&survivor, "a"), count(&survivor, "a")), (3, 4));
    assert_eq!(survivor.0.status().members.voters, [3]);
    assert!(survivor.0.lease().holds());

    let joining = start_in(4, data.path(), &first, |config| {
        config.join = true;
        config.listen = Some(members[&4]);
        knows(config);
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let address = members[&4].to_string().into_bytes();
    let add = MembershipChange::AddLearner { node: 4, address };
    runtime.block_on(survivor.0.change(add)).unwrap();
    wait_for("the state", || counted(&joining, "a") == 4);
    let promote = MembershipChange::Promote { node: 4 };
    wait_for("promotion", || runtime.block_on(survivor.0.change(promote.clone())).is_ok());
    assert_eq!(count(&joining, "a"), 5);
    stop(joining);
    stop(survivor);
    let kept = steps(&data.path().join("node3/replica"));
    assert_eq!(kept, ["a=1", "a=2", "a=3", "a=4", "a=5"], "each step once");
}

#[test]
fn a_member_of_before_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    three(data.path(), &members);
    let code = code(&recover(data.path(), 3, &["--yes-i-accept-loss", "node-3-alone"]));
    let knows = |config: &mut ReplicaConfig| config.recovery = Some(code.clone());
    let survivor = start_in(3, data.path(), &members, knows).unwrap();
    assert_eq!(count(&survivor, "a"), 4);
    let role = survivor.0.status().role;

    // With its old configuration it reaches nobody.
    let old = start_in(2, data.path(), &members, |_| ()).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((old.0.status().role.leader, counted(&old, "a")), (None, 3));
    // Two of them are the old cluster again: that is for the operator to prevent. The one that was
    // recovered has no part in it.
    let older = start_in(1, data.path(), &members, |_| ()).unwrap();
    assert_eq!(count(&old, "b"), 1);
    assert_eq!(count(&survivor, "a"), 5);
    assert_eq!((survivor.0.status().role, counted(&survivor, "b")), (role, 0));
    stop(old);
    stop(older);

    // With the new one it is told what to do.
    let refused = start_in(2, data.path(), &members, knows).unwrap_err();
    assert!(matches!(refused, StartError::BeforeRecovery), "{refused}");
    assert!(refused.to_string().contains("move the directory away"), "{refused}");
    std::fs::remove_dir_all(data.path().join("node2")).unwrap();
    let refused = start_in(2, data.path(), &members, knows).unwrap_err();
    assert!(matches!(refused, StartError::BeginsAnew), "{refused}");
    stop(survivor);
}
