//! What an audit says: what it found, what it covers, and what its evidence lacks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::CallId;
use tandem_center::audit::Fault;

/// Findings that a report holds. More are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The node whose evidence it is; 0 if the evidence does not say.
    pub node: u64,
    /// The last command that the state has.
    pub index: u64,
    /// A hash of the state: equal on all nodes at equal commands.
    pub state_hash: String,
    /// Nothing contradicts the claim that every call has exactly one end and one record.
    pub good: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings that found no place.
    pub findings_more: u64,
    /// What was proven from what, and over which range.
    pub covers: Vec<String>,
    /// Where the evidence is incomplete.
    pub gaps: Vec<String>,
}

/// Something that contradicts the claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which evidence says so.
    pub evidence: Evidence,
    /// The call that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Where in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// What is missing, double or different.
    pub what: String,
}

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The replicated state at one index.
    State,
    /// The log, applied again.
    Log,
    /// The records.
    Records,
    /// What was on the wire.
    Wire,
}

impl Finding {
    /// A fault that was found in this evidence.
    #[must_use]
    pub fn of(evidence: Evidence, fault: &Fault) -> Self {
        let call = fault.call().map(|call| call.to_string());
        Self { evidence, call, index: fault.index(), what: fault.to_string() }
    }

    /// The wire contradicts what is known of a call.
    #[must_use]
    pub fn wire(call: CallId, what: String) -> Self {
        Self { evidence: Evidence::Wire, call: Some(call.to_string()), index: None, what }
    }

    /// The records contradict themselves.
    #[must_use]
    pub fn records(call: Option<String>, what: String) -> Self {
        Self { evidence: Evidence::Records, call, index: None, what }
    }
}

impl Report {
    /// Takes in what was found, up to the bound.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if self.findings.len() < FINDINGS_MAX {
                self.findings.push(finding);
            } else {
                self.findings_more += 1;
            }
        }
        self.good = self.findings.is_empty();
    }

    /// The report for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("evidence of node {}", self.node)];
        lines.extend(self.covers.iter().map(|text| format!("  proven   {text}")));
        lines.extend(self.gaps.iter().map(|text| format!("  unknown  {text}")));
        for Finding { evidence, call, index, what } in &self.findings {
            let evidence = format!("{evidence:?}").to_lowercase();
            let call = call.as_ref().map(|call| format!(" call {call}")).unwrap_or_default();
            let index = index.map(|index| format!(" at {index}")).unwrap_or_default();
            lines.push(format!("  WRONG    {evidence}{call}{index}: {what}"));
        }
        if self.findings_more > 0 {
            lines.push(format!("  WRONG    and {} more", self.findings_more));
        }
        let words = if self.good { "no call is lost or double" } else { "calls are lost or wrong" };
        lines.push(words.to_owned());
        lines
    }
}
