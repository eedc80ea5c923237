//! How a swarm comes to its decision: what its agents are asked, and what their answers mean.
//!
//! An answer that is not in the form that was asked for is never guessed at: it is no vote, no bid, or plain words.

use ice_core::ports::Failure;
use serde_json::{Value, json};

use super::{Said, Work};

/// The decision, and the list that led to it with its name in the output.
type Decided = (Option<String>, Option<(&'static str, Vec<Value>)>);

/// Rounds of a marketplace: one to bid, the others to work.
const BIDDING: u32 = 1;

impl Work<'_> {
    /// Proposals first, then votes, until `threshold` of all agents are for the same one. Whoever votes may also change
    /// its own proposal for the next round.
    pub(super) async fn consensus(&mut self, threshold: f64) -> Result<Decided, Failure> {
        let count = self.swarm.members.len();
        let mut proposals: Vec<Option<String>> = vec![None; count];
        let mut votes = Vec::new();
        while self.rounds < self.swarm.max_rounds {
            self.rounds += 1;
            let asked = (0..count).map(|member| (member, self.ballot(member, &proposals))).collect();
            let said = self.hear(asked).await?;
            if proposals.iter().all(Option::is_none) {
                for said in said {
                    proposals[said.member] = Some(said.words_of("proposal"));
                }
                continue;
            }
            let (tally, cast) = self.count(&said, &proposals);
            votes = cast;
            if let Some(winner) = winner(&tally, threshold) {
                return Ok((proposals[winner].take(), Some(("votes", votes))));
            }
            for said in &said {
                if let Some(changed) = said.field("proposal").and_then(Value::as_str) {
                    proposals[said.member] = Some(changed.to_owned());
                }
            }
        }
        Ok((None, Some(("votes", votes))))
    }

    fn ballot(&self, member: usize, proposals: &[Option<String>]) -> String {
        let head = format!("You are the {} of a group that must agree.\nTask: {}", self.role(member), self.task);
        if proposals.iter().all(Option::is_none) {
            return format!("{head}\n\nMake a proposal. Answer with JSON: {{\"proposal\": \"…\"}}");
        }
        let each = proposals.iter().enumerate().filter_map(|(other, proposal)| Some((other, proposal.as_ref()?)));
        let list: Vec<String> = each.map(|(other, proposal)| format!("- {}: {proposal}", self.role(other))).collect();
        format!(
            "{head}\n\nProposals:\n{}\n\nVote for the role whose proposal you support; your own counts like any other. \
             You may give a better proposal of your own for the next round.\n\
             Answer with JSON: {{\"vote\": \"role\", \"reason\": \"…\", \"proposal\": \"… (optional)\"}}",
            list.join("\n")
        )
    }

    /// Votes for each proposal, and who voted for whom.
    fn count(&self, said: &[Said], proposals: &[Option<String>]) -> (Vec<usize>, Vec<Value>) {
        let mut tally = vec![0; proposals.len()];
        let mut votes = Vec::with_capacity(said.len());
        for said in said {
            let named = said.field("vote").and_then(Value::as_str).map(str::trim);
            let chosen = named.and_then(|name| (0..proposals.len()).find(|member| self.role(*member) == name));
            let chosen = chosen.filter(|member| proposals[*member].is_some());
            if let Some(member) = chosen {
                tally[member] += 1;
            }
            let vote = chosen.map(|member| self.role(member));
            votes.push(json!({ "role": self.role(said.member), "vote": vote, "reason": said.field("reason") }));
        }
        (tally, votes)
    }

    /// The lead speaks in every round: it gives work to the others, or decides. Plain words are a decision.
    pub(super) async fn hierarchy(&mut self, lead: usize) -> Result<Decided, Failure> {
        let mut results: Vec<String> = Vec::new();
        while self.rounds < self.swarm.max_rounds {
            self.rounds += 1;
            let prompt = self.brief(lead, &results);
            let said = self.hear(vec![(lead, prompt)]).await?;
            let Some(said) = said.into_iter().next() else { break };
            let delegated = self.delegated(&said, lead);
            if delegated.is_empty() {
                return Ok((Some(said.words_of("decision")), None));
            }
            let asked = delegated.into_iter().map(|(member, work)| {
                let role = self.role(member);
                (
                    member,
                    format!("You are the {role} of a group.\nThe group's task: {}\n\nYour part: {work}", self.task),
                )
            });
            let asked = asked.collect();
            // What a member could not do the lead hears of by its absence.
            for said in self.hear(asked).await? {
                results.push(format!("- {} (round {}): {}", self.role(said.member), self.rounds, said.text));
            }
        }
        Ok((None, None))
    }

    fn brief(&self, lead: usize, results: &[String]) -> String {
        let others: Vec<&str> =
            (0..self.swarm.members.len()).filter(|member| *member != lead).map(|member| self.role(member)).collect();
        let left = self.swarm.max_rounds - self.rounds;
        let rounds = match left {
            0 => "This is the last round: decide now.".to_owned(),
            left => format!("After this round there are {left} more."),
        };
        let done = if results.is_empty() { "nothing yet".to_owned() } else { format!("\n{}", results.join("\n")) };
        format!(
            "You are the {} and lead a group.\nTask: {}\nYour group: {}\nDone so far: {done}\n\n{rounds}\n\
             To give work to others, answer with JSON: {{\"delegate\": [{{\"to\": \"role\", \"task\": \"…\"}}]}}\n\
             To decide, answer with JSON: {{\"decision\": \"…\"}}",
            self.role(lead),
            self.task,
            others.join(", "),
        )
    }

    /// Who is given what, one task each; a role nobody has is left out. Nothing is given in the last round, or together
    /// with a decision.
    fn delegated(&self, said: &Said, lead: usize) -> Vec<(usize, String)> {
        if self.rounds == self.swarm.max_rounds || said.field("decision").is_some() {
            return Vec::new();
        }
        let mut given: Vec<(usize, String)> = Vec::new();
        for part in said.field("delegate").and_then(Value::as_array).into_iter().flatten() {
            let to = part.get("to").and_then(Value::as_str).unwrap_or_default();
            let work = part.get("task").and_then(Value::as_str).unwrap_or_default();
            let member = (0..self.swarm.members.len()).find(|member| *member != lead && self.role(*member) == to);
            if let Some(member) = member.filter(|member| !given.iter().any(|(known, _)| known == member)) {
                given.push((member, work.to_owned()));
            }
        }
        given
    }

    /// All bid, and the best bid does the work; when it cannot, the next best one does.
    pub(super) async fn market(&mut self) -> Result<Decided, Failure> {
        self.rounds = BIDDING;
        let call = |work: &Self, member: usize| {
            format!(
                "You are the {} on a marketplace.\nTask: {}\n\nBid for the task: how sure are you, from 0 to 1, that you \
                 will do it well?\nAnswer with JSON: {{\"bid\": 0.5, \"plan\": \"…\"}}",
                work.role(member),
                work.task
            )
        };
        let asked = (0..self.swarm.members.len()).map(|member| (member, call(self, member))).collect();
        let said = self.hear(asked).await?;
        let mut bids: Vec<(usize, f64, Value)> = Vec::with_capacity(said.len());
        for said in &said {
            let bid = said.field("bid").and_then(Value::as_f64).filter(|bid| (0.0..=1.0).contains(bid));
            let entry = json!({ "role": self.role(said.member), "bid": bid, "plan": said.field("plan") });
            bids.push((said.member, bid.unwrap_or(-1.0), entry));
        }
        let listed = bids.iter().map(|(.., entry)| entry.clone()).collect();
        // The sort is stable: of equal bids the first agent's counts. Whoever did not bid does not work.
        bids.retain(|(_, bid, _)| *bid >= 0.0);
        bids.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut last = None;
        for (member, ..) in bids {
            if self.rounds >= self.swarm.max_rounds {
                break;
            }
            self.rounds += 1;
            let prompt =
                format!("You are the {}, and your bid was the best.\nDo the task: {}", self.role(member), self.task);
            match self.hear(vec![(member, prompt)]).await {
                Ok(said) => {
                    let work = said.into_iter().next().map(|said| said.text);
                    return Ok((work, Some(("bids", listed))));
                }
                Err(failure) if failure.problem.code == ice_core::problem::Code::X024 => last = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        match last {
            Some(failure) => Err(failure),
            None => Ok((None, Some(("bids", listed)))),
        }
    }
}

/// The proposal that enough of all agents voted for; of several, the one with most votes, then the first.
fn winner(tally: &[usize], threshold: f64) -> Option<usize> {
    #[expect(clippy::cast_precision_loss, reason = "at most 64 agents")]
    let part = |votes: usize| votes as f64 / tally.len() as f64;
    let best = tally.iter().copied().max()?;
    // A hair of tolerance: three of four are three quarters, however they are divided.
    let enough = best > 0 && part(best) + 1e-9 >= threshold;
    enough.then(|| tally.iter().position(|votes| *votes == best)).flatten()
}

#[cfg(test)]
mod tests {
    use super::winner;

    #[test]
    fn enough_of_all_agents_must_agree() {
        assert_eq!(winner(&[1, 3, 0, 0], 0.75), Some(1));
        assert_eq!(winner(&[1, 2, 0, 0], 0.75), None);
        assert_eq!(winner(&[1, 1], 0.5), Some(0), "the first of equals");
        assert_eq!(winner(&[0, 0], 0.5), None, "silence is no consensus");
        assert_eq!(winner(&[0, 2, 1], 2.0 / 3.0), Some(1));
    }
}
