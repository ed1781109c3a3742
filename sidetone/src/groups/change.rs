//! From what somebody wants of a group to the change that RingCentral is told. Pure.

use std::collections::BTreeMap;

use media_gateway::ringcentral::{Assignment, BulkAssignment, GroupMember, GroupPermission};

/// Who is to gain what, and who is to lose what: extension ids.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) added: [(GroupPermission, Vec<String>); 2],
    pub(super) removed: [(GroupPermission, Vec<String>); 2],
}

/// Somebody can't gain and lose the same at once, or lose what they don't have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Contradiction {
    #[error("extension {0} is to be added and removed; name it once")]
    Both(String),
    #[error(
        "extension {0} is not in the group in that role; `sidetone groups members` shows who is"
    )]
    NotThere(String),
}

impl Wanted {
    /// The change that a group with these members needs. A member who loses one role keeps the other.
    pub(super) fn change(&self, members: &[GroupMember]) -> Result<BulkAssignment, Contradiction> {
        let held = |id: &str| members.iter().find(|member| member.id == id);
        let mut after: BTreeMap<&str, Vec<GroupPermission>> = BTreeMap::new();
        for (permission, ids) in &self.removed {
            for id in ids {
                let gains = |(added, ids): &(GroupPermission, Vec<String>)| {
                    added == permission && ids.contains(id)
                };
                if self.added.iter().any(gains) {
                    return Err(Contradiction::Both(id.clone()));
                }
                let before = held(id).map(|member| member.permissions.clone()).unwrap_or_default();
                if !before.contains(permission) {
                    return Err(Contradiction::NotThere(id.clone()));
                }
                after.entry(id).or_insert(before).retain(|it| it != permission);
            }
        }
        for (permission, ids) in &self.added {
            for id in ids {
                let before = held(id).map(|member| member.permissions.clone()).unwrap_or_default();
                let permissions = after.entry(id).or_insert(before);
                if !permissions.contains(permission) {
                    permissions.push(*permission);
                }
            }
        }
        let mut change = BulkAssignment::default();
        for (id, permissions) in after {
            let assignment = Assignment { id: id.to_owned(), permissions };
            match held(id) {
                Some(_) if assignment.permissions.is_empty() => change.removed.push(assignment.id),
                Some(member) if member.permissions == assignment.permissions => {}
                Some(_) => change.updated.push(assignment),
                None => change.added.push(assignment),
            }
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use GroupPermission::{Monitored, Monitoring};

    use super::*;

    fn member(id: &str, permissions: &[GroupPermission]) -> GroupMember {
        let permissions = permissions.to_vec();
        GroupMember { id: id.to_owned(), permissions, ..GroupMember::default() }
    }

    fn wanted(added: [&[&str]; 2], removed: [&[&str]; 2]) -> Wanted {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let both = |[supervisors, agents]: [&[&str]; 2]| {
            [(Monitoring, owned(supervisors)), (Monitored, owned(agents))]
        };
        Wanted { added: both(added), removed: both(removed) }
    }

    #[test]
    fn members_are_added_changed_and_removed() {
        let members =
            [member("1", &[Monitoring]), member("2", &[Monitored]), member("3", &[Monitored])];
        let change = wanted([&["2"], &["4", "3"]], [&["1"], &[]]).change(&members).unwrap();
        let assignment = |id: &str, permissions: &[GroupPermission]| Assignment {
            id: id.to_owned(),
            permissions: permissions.to_vec(),
        };
        assert_eq!(change.added, [assignment("4", &[Monitored])]);
        assert_eq!(change.updated, [assignment("2", &[Monitored, Monitoring])]);
        assert_eq!(change.removed, ["1"]);
    }

    #[test]
    fn whoever_loses_one_role_keeps_the_other() {
        let members = [member("1", &[Monitoring, Monitored])];
        let change = wanted([&[], &[]], [&[], &["1"]]).change(&members).unwrap();
        assert_eq!(change.updated[0].permissions, [Monitoring]);
        assert!(change.removed.is_empty());
        // From agent to supervisor in one step.
        let members = [member("1", &[Monitored])];
        let change = wanted([&["1"], &[]], [&[], &["1"]]).change(&members).unwrap();
        assert_eq!(change.updated[0].permissions, [Monitoring]);
    }

    #[test]
    fn contradictions_are_named_and_what_is_so_already_is_no_change() {
        let members = [member("1", &[Monitoring])];
        let both = wanted([&["1"], &[]], [&["1"], &[]]).change(&members);
        assert_eq!(both, Err(Contradiction::Both("1".to_owned())));
        let absent = wanted([&[], &[]], [&[], &["1"]]).change(&members);
        assert_eq!(absent, Err(Contradiction::NotThere("1".to_owned())));
        let same = wanted([&["1"], &[]], [&[], &[]]).change(&members);
        assert_eq!(same, Ok(BulkAssignment::default()));
    }
}
