//! The demo's own register of admin certificates, as `farmgate admin` makes one: the gate's page lists it, and what is in
//! it can be revoked.

use std::path::Path;

use crate::admin::ca::{self, Authority, CaError, Init, KeyType};

/// Whose certificates and keys are in files of their names.
const NAMES: [&str; 2] = ["yusuf", "zoe"];
/// For how long, in days.
const DAYS: u32 = 30;

/// Makes it in `state`, and writes the certificates and the keys into `folder`.
pub(super) fn make(state: &Path, folder: &Path) -> Result<(), CaError> {
    ca::init(state, &Init { subject: "farmgate demo register".into(), days: DAYS, key_type: KeyType::P256 })?;
    let authority = Authority::open(state)?;
    for name in NAMES {
        let [_, request] = ca::request(&name.parse()?, KeyType::P256, folder)?;
        authority.sign(&request, None, DAYS, folder)?;
    }
    Ok(())
}
