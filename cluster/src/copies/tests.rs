//! Batches that go both ways over connections that stall and datagrams that are lost, doubled,
//! reordered and sent again by a stranger.

use super::*;
use raft::eraftpb::Entry;
use std::cell::Cell;

const RUN: u64 = 40;

fn heartbeat() -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgHeartbeat);
    message
}

fn append() -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppend);
    message.mut_entries().push(Entry::default());
    message
}

fn batch(number: u64) -> BatchId {
    BatchId { incarnation: RUN, number }
}

/// So many appends at once: how many of them are copied.
fn burst(copied: &mut Copied, now: Moment, appends: usize) -> usize {
    (0..appends).filter(|_| copied.number(now, Some(&[vec![append()]])).is_some()).count()
}

#[test]
fn a_few_batches_are_all_copied_and_numbered_one_after_the_other() {
    let mut copied = Copied::default();
    for number in 1..=500 {
        assert_eq!(copied.number(1_000 + number * 2, Some(&[vec![append()]])), Some(number));
    }
}

#[test]
fn of_a_flood_few_are_copied_and_heartbeats_always() {
    let mut copied = Copied::default();
    assert_eq!(burst(&mut copied, 1_000, 1_000), 48);
    for now in 1_001..2_000 {
        assert_eq!(burst(&mut copied, now, 10), 0, "appends that follow what went alone");
        if now % 75 == 0 {
            assert!(copied.number(now, Some(&[vec![heartbeat()]])).is_some(), "at {now}");
        }
    }
    assert_eq!(burst(&mut copied, 2_200, 1_000), 48);
}

#[test]
fn what_follows_a_batch_that_went_alone_does_not_overtake_it() {
    let mut copied = Copied::default();
    assert_eq!(copied.number(1_000, None), None);
    assert_eq!(copied.number(1_001, Some(&[vec![heartbeat()]])), Some(1));
    assert_eq!(copied.number(1_019, Some(&[vec![append(), heartbeat()]])), None);
    assert_eq!(copied.number(1_020, Some(&[vec![append()]])), Some(2));
}

#[test]
fn each_batch_is_taken_once_whichever_way_it_comes_first() {
    // The connection delivers all in order, 30 batches late; datagrams are lost, doubled and come
    // in groups whose order is turned around.
    for seed in 0..50_u64 {
        let mut taken = Taken::default();
        let counts = [const { Cell::new(0) }; 301];
        let mut come = |number: u64| {
            if (1..=300).contains(&number) && taken.take(RUN, batch(number)) {
                counts[number as usize].update(|count| count + 1);
            }
        };
        let chance = |number: u64| (number * 2_654_435_761 + seed * 40_503) >> 7;
        for group in 0..=40 {
            for number in (group * 10..group * 10 + 10).rev() {
                for _ in 0..chance(number) % 3 {
                    come(number);
                }
            }
            for number in (group * 10).saturating_sub(30)..(group * 10).saturating_sub(20) {
                come(number);
            }
        }
        assert!(counts[1..].iter().all(|count| count.get() == 1), "seed {seed}: {counts:?}");
        (0..=300).for_each(&mut come);
        assert!(
            counts[1..].iter().all(|count| count.get() == 1),
            "seed {seed}, all of it replayed"
        );
    }
}

#[test]
fn what_another_process_sent_is_passed_over() {
    let mut taken = Taken::default();
    assert!(taken.take(RUN, batch(1)));
    assert!(!taken.take(RUN, BatchId { incarnation: RUN - 1, number: 2 }));
    assert!(!taken.take(RUN, BatchId { incarnation: RUN + 1, number: 2 }));
    // The sender was started again: its numbers begin anew, and those of before mean nothing.
    assert!(taken.take(RUN + 1, BatchId { incarnation: RUN + 1, number: 1 }));
    assert!(!taken.take(RUN + 1, batch(2)));
}

#[test]
fn a_gap_that_stays_is_forgotten_and_what_fills_it_too_late_is_not_taken() {
    let mut taken = Taken::default();
    for number in 2..=10_000 {
        assert!(taken.take(RUN, batch(number)));
        assert!(taken.above.len() <= REMEMBERED_MAX);
    }
    assert!(!taken.take(RUN, batch(1)));
    assert!(!taken.take(RUN, batch(5_000)));
    assert!(taken.take(RUN, batch(10_001)));
}

/// An append or a proposal of so many entries after index 10, with 1,000 bytes each.
fn long(kind: MessageType, entries: u64) -> Message {
    let mut message = Message { index: 10, log_term: 3, term: 4, commit: 9, ..Message::default() };
    message.set_msg_type(kind);
    for index in 11..=10 + entries {
        let data = vec![7; 1_000].into();
        message.mut_entries().push(Entry { index, term: 4, data, ..Entry::default() });
    }
    message
}

#[test]
fn a_long_append_goes_in_several_that_follow_each_other() {
    let whole = long(MessageType::MsgAppend, 20);
    let parts = parts(&[heartbeat(), whole.clone()], 8_000).unwrap();
    assert!(parts.iter().all(|part| part.iter().map(size).sum::<usize>() <= 8_000));
    let (mut index, mut log_term, mut entries) = (10, 3, Vec::new());
    for message in parts.iter().flatten().skip(1) {
        assert_eq!((message.index, message.log_term), (index, log_term));
        assert_eq!((message.term, message.commit), (4, 9));
        entries.extend_from_slice(message.get_entries());
        (index, log_term) = (entries.last().unwrap().index, 4);
    }
    assert_eq!(entries, whole.get_entries());
    assert_eq!((parts.len(), &parts[0][0]), (3, &heartbeat()));
    let mut copied = Copied::default();
    assert_eq!(copied.number(1_000, Some(&parts)), Some(1));
    assert_eq!(copied.number(1_000, Some(&[vec![append()]])), Some(4), "three numbers are used");
}

#[test]
fn a_long_proposal_goes_in_several_and_what_is_longer_or_cannot_be_cut_in_none() {
    let proposal = long(MessageType::MsgPropose, 20);
    let cut = parts(std::slice::from_ref(&proposal), 8_000).unwrap();
    let entries: Vec<_> = cut.iter().flatten().flat_map(|m| m.get_entries().to_vec()).collect();
    assert_eq!(entries, proposal.get_entries());
    assert_eq!(parts(&[long(MessageType::MsgAppend, 1)], 900), None);
    assert_eq!(parts(&[long(MessageType::MsgAppend, 7 * 17)], 8_000), None);
    assert_eq!(parts(&[long(MessageType::MsgReadIndexResp, 20)], 8_000), None);
}
