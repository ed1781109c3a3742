//! `sidetone groups`: the call monitoring groups of the account, which decide whose calls the supervisor may hear.

mod change;

use std::fmt::Write as _;
use std::io::{self, BufRead, Write as _};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use media_gateway::doctor;
use media_gateway::ringcentral::{
    Client, Credentials, Error, Extension, GroupMember, GroupPermission, MonitoringGroup,
};
use media_gateway::setup::find_agents;
use serde::Serialize;

use crate::config::Config;
use crate::table::table;
use change::Wanted;

/// What to do with the call monitoring groups of the account.
#[derive(Args)]
pub struct GroupsCommand {
    /// The configuration: its [ringcentral] says which account, and with which login
    #[arg(long, value_name = "FILE", default_value = "sidetone.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the groups
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a group without members, and print its id
    Create {
        /// As the portal is to show it
        name: String,
    },
    /// Give a group another name
    Rename {
        /// Its id or its name
        group: String,
        /// The new name
        name: String,
    },
    /// Delete a group: nobody is supervised through it any more
    Delete {
        /// Its id or its name
        group: String,
        /// Without asking
        #[arg(long)]
        yes: bool,
    },
    /// List who is in a group, and as what
    Members {
        /// Its id or its name
        group: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add and remove supervisors and agents, by extension number or id, separated by commas
    Assign {
        /// Its id or its name
        group: String,
        #[command(flatten)]
        members: Members,
    },
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Members {
    /// Who may listen from now on
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    add_supervisor: Vec<String>,
    /// Who may be listened to from now on
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    add_agent: Vec<String>,
    /// Who may not listen any more
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    remove_supervisor: Vec<String>,
    /// Who may not be listened to any more
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    remove_agent: Vec<String>,
}

/// A member, as it is listed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView {
    id: String,
    extension_number: String,
    name: String,
    is_supervisor: bool,
    is_agent: bool,
}

impl GroupsCommand {
    /// Asks RingCentral, and prints what it says.
    ///
    /// # Errors
    /// When the configuration can't be read, somebody or something is unknown, or RingCentral refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = Config::parse(&self.config)?.ringcentral;
        let credentials = Credentials {
            client_id: config.client_id,
            client_secret: config.client_secret.expose().to_owned(),
            jwt: config.jwt.expose().to_owned(),
        };
        let client = Client::new(&config.server, credentials)?;
        let done = self.action.run(&client).await;
        // Only five logins of a user live at once.
        let _ = client.revoke().await;
        done
    }
}

impl Action {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Action::List { json } => list(client, json).await,
            Action::Create { name } => {
                let created = explained(client.create_monitoring_group(&name).await, EDIT)?;
                println!("{}", created.id);
                eprintln!(
                    "group {name:?} is created; add a supervisor and agents with `sidetone groups assign {}`",
                    created.id
                );
                Ok(())
            }
            Action::Rename { group, name } => {
                let group = find(client, &group).await?;
                explained(client.rename_monitoring_group(&group.id, &name).await, EDIT)?;
                eprintln!("group {} is called {name:?} now", group.id);
                Ok(())
            }
            Action::Delete { group, yes } => delete(client, &group, yes).await,
            Action::Members { group, json } => {
                let group = find(client, &group).await?;
                members(client, &group, json).await
            }
            Action::Assign { group, members } => assign(client, &group, members).await,
        }
    }
}

/// What changing groups needs of the app.
const EDIT: &str = "EditExtensions";
/// What reading them needs.
const READ: &str = "ReadAccounts";

async fn list(client: &Client, json: bool) -> anyhow::Result<()> {
    let groups = explained(client.monitoring_groups(None).await, READ)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&groups)?);
    } else if groups.is_empty() {
        println!("the account has no call monitoring group; `sidetone groups create` makes one");
    } else {
        let rows: Vec<_> = groups.into_iter().map(|group| [group.id, group.name]).collect();
        print!("{}", table(["ID", "NAME"], &rows));
    }
    Ok(())
}

async fn delete(client: &Client, group: &str, yes: bool) -> anyhow::Result<()> {
    let group = find(client, group).await?;
    let members = explained(client.monitoring_group_members(&group.id).await, READ)?.len();
    if !yes {
        eprint!("delete group {} ({:?}) with {members} members? [y/N] ", group.id, group.name);
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("group {} stays; answer y, or give --yes, to delete it", group.id);
        }
    }
    explained(client.delete_monitoring_group(&group.id).await, EDIT)?;
    eprintln!("group {} ({:?}) is deleted", group.id, group.name);
    Ok(())
}

async fn members(client: &Client, group: &MonitoringGroup, json: bool) -> anyhow::Result<()> {
    let members = explained(client.monitoring_group_members(&group.id).await, READ)?;
    let extensions = explained(client.extensions().await, READ)?;
    let members: Vec<_> = members.into_iter().map(|it| MemberView::of(it, &extensions)).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&members)?);
    } else if members.is_empty() {
        println!(
            "nobody is in group {}; `sidetone groups assign {0} --add-supervisor ... --add-agent ...` adds somebody",
            group.id
        );
    } else {
        let rows: Vec<_> = members.into_iter().map(MemberView::row).collect();
        print!("{}", table(["NUMBER", "NAME", "ROLE", "ID"], &rows));
    }
    Ok(())
}

async fn assign(client: &Client, group: &str, members: Members) -> anyhow::Result<()> {
    let group = find(client, group).await?;
    let extensions = explained(client.extensions().await, READ)?;
    let ids = |texts: &[String]| -> anyhow::Result<Vec<String>> {
        let trimmed: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).collect();
        Ok(find_agents(&trimmed, &extensions)?.into_iter().map(|it| it.id).collect())
    };
    let wanted = Wanted {
        added: [
            (GroupPermission::Monitoring, ids(&members.add_supervisor)?),
            (GroupPermission::Monitored, ids(&members.add_agent)?),
        ],
        removed: [
            (GroupPermission::Monitoring, ids(&members.remove_supervisor)?),
            (GroupPermission::Monitored, ids(&members.remove_agent)?),
        ],
    };
    let before = explained(client.monitoring_group_members(&group.id).await, READ)?;
    let change = wanted.change(&before)?;
    if change == Default::default() {
        eprintln!("group {} is like that already", group.id);
    } else {
        explained(client.assign_monitoring_group(&group.id, &change).await, EDIT)?;
        eprintln!(
            "group {}: {} added, {} changed, {} removed",
            group.id,
            change.added.len(),
            change.updated.len(),
            change.removed.len()
        );
    }
    Ok(())
}

/// The group with that id, or else of that name.
async fn find(client: &Client, wanted: &str) -> anyhow::Result<MonitoringGroup> {
    let groups = explained(client.monitoring_groups(None).await, READ)?;
    if let Some(group) = groups.iter().find(|group| group.id == wanted) {
        return Ok(group.clone());
    }
    let mut named = groups.iter().filter(|group| group.name == wanted);
    match (named.next(), named.next()) {
        (Some(group), None) => Ok(group.clone()),
        (Some(_), Some(_)) => bail!(
            "several groups are called {wanted:?}; name one by its id, which `sidetone groups list` shows"
        ),
        (None, _) => {
            let mut known = String::new();
            for group in &groups {
                let _ = write!(known, "{}{} ({:?})", separator(&known), group.id, group.name);
            }
            let known = if known.is_empty() { "none".to_owned() } else { known };
            bail!("no call monitoring group has the id or the name {wanted:?}; there are: {known}")
        }
    }
}

fn separator(before: &str) -> &'static str {
    if before.is_empty() { "" } else { ", " }
}

/// RingCentral's refusal, and what to do about it.
fn explained<T>(answer: Result<T, Error>, permission: &str) -> anyhow::Result<T> {
    answer.map_err(|error| anyhow::anyhow!("{error}; {}", doctor::mend(&error, permission)))
}

impl MemberView {
    fn of(member: GroupMember, extensions: &[Extension]) -> Self {
        let known = extensions.iter().find(|extension| extension.id == member.id);
        Self {
            name: known.map(|extension| extension.name.clone()).unwrap_or_default(),
            is_supervisor: member.is_monitoring(),
            is_agent: member.is_monitored(),
            id: member.id,
            extension_number: member.extension_number,
        }
    }

    fn row(self) -> [String; 4] {
        let role = match (self.is_supervisor, self.is_agent) {
            (true, true) => "supervisor, agent",
            (true, false) => "supervisor",
            (false, true) => "agent",
            (false, false) => "-",
        };
        [self.extension_number, self.name, role.to_owned(), self.id]
    }
}
