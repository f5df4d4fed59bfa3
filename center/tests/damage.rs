//! Bytes that are not what was written: an error, never a panic, never half a state.

use std::collections::BTreeMap;

use tandem_center::version::{Foreign, NEWEST, OLDEST};
use tandem_center::{
    Arrived, CallId, Center, Command, DecodeError, Directory, LoadError, Millis, NodeId, Party,
    Route, Wire,
};

fn arrived() -> Command {
    Command::Arrived(Box::new(Arrived {
        call: CallId(7),
        salt: 1,
        owner: NodeId(1),
        home: None,
        trunk: None,
        phone: None,
        caller: Party { number: "100".into(), name: Some("Alice".into()) },
        called: "echo".into(),
        wire: Wire::from(vec![1; 20]),
        answer_ready: true,
    }))
}

fn center() -> Center {
    let mut center = Center::new();
    let numbers = BTreeMap::from([("echo".into(), Route::Echo)]);
    let directory = Directory { numbers, ..Directory::default() };
    let configure = Command::Configure(Box::new(directory));
    assert!(center.apply(1, Millis(1), configure).is_ok());
    assert!(center.apply(2, Millis(2), arrived()).is_ok());
    center
}

#[test]
fn a_snapshot_reads_back_with_its_index_and_time() {
    let center = center();
    let loaded = Center::load(&center.save()).expect("it was just saved");
    assert_eq!((loaded.index(), loaded.at()), (2, Millis(2)));
    assert_eq!(loaded.state_hash(), center.state_hash());
    assert_eq!(loaded.directory_hash(), center.directory_hash());
}

#[test]
fn a_snapshot_that_is_cut_anywhere_is_damaged() {
    let bytes = center().save();
    for end in 0..bytes.len() {
        let loaded = Center::load(&bytes[..end]);
        assert!(matches!(loaded, Err(LoadError::Corrupt { .. })), "{end} of {}", bytes.len());
    }
}

#[test]
fn a_snapshot_with_a_changed_byte_is_damaged_or_another_state_but_no_panic() {
    let bytes = center().save();
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            drop(Center::load(&changed));
        }
    }
}

#[test]
fn a_newer_snapshot_says_so() {
    let mut bytes = center().save();
    bytes[4] = NEWEST + 1;
    let newer = LoadError::Foreign(Foreign::Newer { version: NEWEST + 1 });
    assert_eq!(Center::load(&bytes).err(), Some(newer.clone()));
    let words = newer.to_string();
    let said = format!("version {}, this program reads up to {NEWEST}", NEWEST + 1);
    assert!(words.contains(&said) && words.contains("start a newer one"), "{words}");
    let meta = [(b"m".to_vec(), vec![NEWEST + 1, 0, 0])];
    assert_eq!(Center::from_pairs(meta).err(), Some(newer));
}

#[test]
fn no_pairs_are_a_new_centre_and_pairs_without_their_point_are_damaged() {
    let nothing: [(Vec<u8>, Vec<u8>); 0] = [];
    let new = Center::from_pairs(nothing).expect("a new one");
    assert_eq!(new.state_hash(), Center::new().state_hash());
    let mut center = center();
    let outcome = center.apply(
        3,
        Millis(3),
        Command::NodeUp { node: NodeId(1), homes: Vec::new(), sockets_are_lost: true },
    );
    let mut pairs = center.changed(&outcome.expect("it is taken").touched);
    assert_eq!(pairs.pop().map(|(key, _)| key), Some(b"m".to_vec()), "the point comes last");
    let call = (b"c\0\0\0\0\0\0\0\x07".to_vec(), vec![1, 2, 3]);
    assert!(matches!(Center::from_pairs([call]), Err(LoadError::Corrupt { .. })));
    let unknown = (b"?".to_vec(), vec![]);
    assert!(matches!(Center::from_pairs([unknown]), Err(LoadError::Corrupt { .. })));
}

#[test]
fn a_command_that_is_cut_or_changed_is_damaged_or_another_but_no_panic() {
    let bytes = arrived().encode(OLDEST).unwrap();
    for end in 0..bytes.len() {
        let cut = Command::decode(&bytes[..end]);
        assert!(matches!(cut, Err(DecodeError::Corrupt { .. })), "{end}");
        for change in 1..=255 {
            let mut changed = bytes.clone();
            changed[end] ^= change;
            drop(Command::decode(&changed));
        }
    }
}
