//! Who is logged in. In memory, so that a restart logs everybody out; what a browser holds is a random text of which a digest is kept.
//! A session ends by itself, and with its operator's token, which is looked up again for every request.

use crate::store::Operator;
use picket_model::TokenId;
use picket_pki::{KeyError, SecretHash, random};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Ends after so long without a request.
const IDLE: Duration = Duration::from_mins(30);
/// And after so long in any case: a working day.
pub(super) const LONGEST: Duration = Duration::from_hours(8);
/// Sessions of one operator; the oldest goes.
const MOST: usize = 16;

/// One browser that is logged in.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Whose token it was.
    pub(super) operator: TokenId,
    /// Which one, so that another under the same id is another's.
    pub(super) secret_hash: SecretHash,
    /// What its forms bring along.
    pub(super) csrf: String,
    began: Instant,
    asked: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) >= IDLE || now.saturating_duration_since(self.began) >= LONGEST
    }
}

/// All of them, by the digest of what the browser holds.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<[u8; 32], Session>>);

impl Sessions {
    /// A new one; what the browser is to hold.
    pub(super) fn begin(&self, operator: &Operator, now: Instant) -> Result<String, KeyError> {
        let (cookie, csrf) = (secret()?, secret()?);
        let session =
            Session { operator: operator.id.clone(), secret_hash: operator.secret_hash, csrf, began: now, asked: now };
        let mut sessions = self.lock();
        sessions.retain(|_, session| !session.is_over(now));
        let own: Vec<_> = sessions.iter().filter(|(_, session)| session.operator == operator.id).collect();
        let oldest = own.iter().min_by_key(|(_, session)| session.began).map(|(key, _)| **key);
        if let Some(oldest) = oldest.filter(|_| own.len() >= MOST) {
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&cookie), session);
        Ok(cookie)
    }

    /// The session of a request that somebody made.
    pub(super) fn find(&self, cookie: &str, now: Instant) -> Option<Session> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&digest(cookie)).filter(|session| !session.is_over(now))?;
        session.asked = now;
        Some(session.clone())
    }

    /// That of a request that a page made by itself: it keeps nothing alive.
    pub(super) fn look(&self, cookie: &str, now: Instant) -> Option<Session> {
        self.lock().get(&digest(cookie)).filter(|session| !session.is_over(now)).cloned()
    }

    /// Whether it goes on; asking so keeps nothing alive.
    pub(super) fn is_alive(&self, cookie: &str, now: Instant) -> bool {
        self.look(cookie, now).is_some()
    }

    /// Ends one.
    pub(super) fn end(&self, cookie: &str) {
        self.lock().remove(&digest(cookie));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text that nobody guesses.
pub(super) fn secret() -> Result<String, KeyError> {
    Ok(hex::encode(random::<32>()?))
}

fn digest(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::make;
    use picket_model::Timestamp;
    use picket_pki::OperatorRole;

    fn operator() -> Operator {
        make(OperatorRole::Viewer, Timestamp::from_millis(0)).unwrap().1
    }

    #[test]
    fn a_session_ends_when_nobody_asks_and_after_a_day_in_any_case() {
        let (sessions, operator, start) = (Sessions::default(), operator(), Instant::now());
        let idle = sessions.begin(&operator, start).unwrap();
        assert!(sessions.find(&idle, start + IDLE - Duration::from_secs(1)).is_some());
        assert!(sessions.find(&idle, start + IDLE + Duration::from_mins(10)).is_some(), "it was asked meanwhile");
        assert!(sessions.look(&idle, start + IDLE + Duration::from_mins(39)).is_some(), "a look is allowed");
        assert!(sessions.find(&idle, start + IDLE + Duration::from_mins(40)).is_none(), "and keeps nothing alive");
        let busy = sessions.begin(&operator, start).unwrap();
        let mut now = start;
        while now < start + LONGEST {
            assert!(sessions.find(&busy, now).is_some() && sessions.is_alive(&busy, now));
            now += Duration::from_mins(20);
        }
        assert!(!sessions.is_alive(&busy, now) && sessions.find(&busy, now).is_none());
    }

    #[test]
    fn only_what_was_given_opens_it_and_not_after_its_end() {
        let (sessions, operator, now) = (Sessions::default(), operator(), Instant::now());
        let [one, two] = [(); 2].map(|()| sessions.begin(&operator, now).unwrap());
        assert_ne!(sessions.find(&one, now).unwrap().csrf, sessions.find(&two, now).unwrap().csrf);
        sessions.end(&one);
        assert!(sessions.find(&one, now).is_none() && sessions.find(&two, now).is_some());
        assert!(sessions.find("", now).is_none() && sessions.find(&two[1..], now).is_none());
    }

    #[test]
    fn an_operator_has_so_many_and_the_oldest_goes() {
        let (sessions, operator, start) = (Sessions::default(), operator(), Instant::now());
        let at = |number: u64| start + Duration::from_secs(number);
        let all: Vec<String> = (0..=16).map(|number| sessions.begin(&operator, at(number)).unwrap()).collect();
        let alive = all.iter().filter(|cookie| sessions.is_alive(cookie, at(20))).count();
        assert_eq!((alive, sessions.is_alive(&all[0], at(20))), (MOST, false));
    }
}
