//! Asking a person: a wait opens, is answered, passed on or runs out. Everything about it is in events, so the asking
//! can be dropped at any time and taken up again.

use ice_core::event::Fact;
use ice_core::id::UnixMs;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use ice_core::wait::{OnTimeout, OpenWait, Question, Resolution, WaitId};

use crate::calls::Site;
use crate::context::NodeRun;
use crate::history::Asked;
use crate::keys;
use crate::run::Run;

/// Asks at a place of an execution, and returns how the wait ended. `question` is made only when it was not asked
/// before. X021 when nobody answered and that is a failure.
pub(crate) async fn ask(
    cx: &NodeRun<'_>,
    site: &Site,
    question: impl FnOnce() -> Result<Question, Failure>,
) -> Result<Resolution, Failure> {
    let run = cx.run();
    let wait = WaitId::new(&run.id, &site.path, site.attempt);
    let mut open = match run.history.asked(&wait) {
        Some(Asked::Resolved(question, resolution)) => return judged(site, &question, resolution),
        Some(Asked::Open(open)) => open,
        None => open_wait(run, site, &wait, question()?).await?,
    };
    loop {
        let mut seat = run.control.desk.open(&wait, &open.question, open.due);
        let over = async {
            match open.due.map(|due| due.saturating_sub(run.now())) {
                // A timer takes a moment even for no time at all, in which nothing would be left to do.
                Some(0) => {}
                Some(left) => run.clock().sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let resting = cx.rest();
        let letter = tokio::select! {
            biased;
            letter = seat.letter() => Some(letter),
            why = site.stop.tripped() => {
                drop(resting);
                if run.control.hard.why().is_none() {
                    run.push(&site.path, site.attempt, Fact::WaitWithdrawn { wait });
                }
                return Err(Failure::never(why.clone()));
            }
            () = over => None,
        };
        drop(resting);
        if let Some(letter) = letter {
            let done = resolve(run, site, &wait, letter.resolution.clone()).await;
            let told = done.as_ref().map(drop).map_err(|failure| failure.problem.clone());
            // Whoever answered may have gone; the answer is on record all the same.
            let _ = letter.receipt.send(told);
            done?;
            return judged(site, &open.question, letter.resolution);
        }
        if open.question.on_timeout == OnTimeout::Escalate
            && let Some(to) = open.question.escalation.get(open.level).cloned()
        {
            open.level += 1;
            open.due = due(run, &open.question);
            open.escalated_to = Some(to.clone());
            let fact = Fact::WaitEscalated { wait: wait.clone(), to, due: open.due };
            run.commit(&site.path, site.attempt, fact).await?;
            continue;
        }
        let resolution = open.question.unanswered();
        resolve(run, site, &wait, resolution.clone()).await?;
        return judged(site, &open.question, resolution);
    }
}

/// Asks as a child node of its own, with events of its own: for questions in the middle of what another node does.
pub(crate) async fn ask_as_node(cx: &NodeRun<'_>, site: &Site, question: Question) -> Result<Resolution, Failure> {
    let run = cx.run();
    if run.history.of_node(&site.path).is_none() {
        let idempotency_key = keys::idempotency_key(&run.id, &site.path, site.attempt, None);
        run.push(
            &site.path,
            site.attempt,
            Fact::NodeStarted { kind: "human".into(), idempotency_key, component: None },
        );
    } else if let Some(ended) = run.history.ended(&site.path) {
        // The wait was answered and the node around it went on: the answer is in the wait.
        return match ended {
            Err(problem) => Err(Failure::never(problem)),
            Ok(_) => ask(cx, site, || Ok(question)).await,
        };
    }
    let asked = ask(cx, site, || Ok(question)).await;
    let last = match &asked {
        Ok(resolution) => {
            let usage = ice_core::budget::Usage::default();
            Fact::NodeFinished { output: resolution.output(), cached: false, receipt: None, usage }
        }
        Err(failure) => Fact::NodeFailed { problem: failure.problem.clone(), receipt: None },
    };
    run.push(&site.path, site.attempt, last);
    asked
}

async fn open_wait(run: &Run, site: &Site, wait: &WaitId, question: Question) -> Result<OpenWait, Failure> {
    let due = due(run, &question);
    let opened = run.now();
    let fact = Fact::WaitOpened { wait: wait.clone(), question: Box::new(question.clone()), due };
    run.commit(&site.path, site.attempt, fact).await?;
    let (path, attempt) = (site.path.clone(), site.attempt);
    Ok(OpenWait { path, attempt, question, opened, due, escalated_to: None, level: 0 })
}

fn due(run: &Run, question: &Question) -> Option<UnixMs> {
    question.timeout_ms.map(|ms| run.now().saturating_add(ms))
}

async fn resolve(run: &Run, site: &Site, wait: &WaitId, resolution: Resolution) -> Result<(), Failure> {
    let fact = Fact::WaitResolved { wait: wait.clone(), resolution: Box::new(resolution) };
    run.commit(&site.path, site.attempt, fact).await
}

fn judged(site: &Site, question: &Question, resolution: Resolution) -> Result<Resolution, Failure> {
    if !resolution.is_failure(question) {
        return Ok(resolution);
    }
    let seconds = question.timeout_ms.unwrap_or_default().div_ceil(1_000);
    let message = match question.on_timeout {
        OnTimeout::Escalate => format!("nobody answered `{}`, and nobody is left to ask", site.path),
        _ => format!("nobody answered `{}` within {seconds} s", site.path),
    };
    let help = "raise `timeout_seconds`, or say with `on_timeout` what silence means: approve, reject, escalate";
    Err(Failure::maybe(Problem::new(Code::X021, message).help(help)))
}
