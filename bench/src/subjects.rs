//! Who is measured, and all of them running in front of one upstream.

use crate::Setup;
use crate::child::Child;
use anyhow::{Context, Result};
use tempfile::TempDir;

/// Something that answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The upstream itself, nothing between.
    Direct,
    /// A Pingora pass-through.
    Bare,
    /// nginx.
    Nginx,
    /// Our gateway.
    Gateway,
    /// The same, for a user under budgets that nothing reaches.
    Governed,
}

impl Subject {
    /// As it is called in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bare => "bare Pingora",
            Self::Nginx => "nginx",
            Self::Gateway => "gateway",
            Self::Governed => "gateway, under budgets",
        }
    }
}

/// The upstream and everything in front of it, as processes.
pub struct Stand {
    children: Vec<(Subject, Child)>,
    /// nginx writes here until it has ended.
    _directory: TempDir,
}

impl Stand {
    /// Starts the upstream and `proxies` in front of it.
    pub async fn start(setup: &Setup, proxies: &[Subject]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("cch-bench-").tempdir()?;
        let slow_ms = setup.streams.event_every.as_millis().to_string();
        let role = ["role", "upstream", "--slow-ms", &slow_ms].map(str::to_owned);
        let upstream = Child::start(&setup.program, &role).await?;
        let behind = upstream.address.to_string();
        let mut children = vec![(Subject::Direct, upstream)];
        for &subject in proxies {
            let mut role = vec!["role".to_owned()];
            match subject {
                Subject::Direct => continue,
                Subject::Bare => role.push("bare".to_owned()),
                Subject::Gateway => role.push("gateway".to_owned()),
                Subject::Governed => role.extend(["gateway", "--governed"].map(str::to_owned)),
                Subject::Nginx => {
                    let program = setup.nginx.as_ref().context("no nginx on this machine")?;
                    let (program, directory) = (program.display(), directory.path().display());
                    role.extend(["nginx", "--program"].map(str::to_owned));
                    role.extend([program.to_string(), "--directory".to_owned(), directory.to_string()]);
                }
            }
            role.extend(["--upstream".to_owned(), behind.clone()]);
            children.push((subject, Child::start(&setup.program, &role).await?));
        }
        Ok(Self { children, _directory: directory })
    }

    /// All of them, the upstream first.
    pub fn all(&self) -> impl Iterator<Item = (Subject, &Child)> {
        self.children.iter().map(|(subject, child)| (*subject, child))
    }

    /// One of them.
    pub fn child(&self, wanted: Subject) -> Result<&Child> {
        self.all().find(|(subject, _)| *subject == wanted).map(|(_, child)| child).context("not started")
    }

    /// Ends all processes, the upstream last.
    pub async fn stop(self) -> Result<()> {
        for (_, child) in self.children.into_iter().rev() {
            child.stop().await?;
        }
        Ok(())
    }
}

/// The proxies that this machine can run.
#[must_use]
pub fn proxies(setup: &Setup) -> Vec<Subject> {
    let nginx = setup.nginx.is_some().then_some(Subject::Nginx);
    [Subject::Bare].into_iter().chain(nginx).chain([Subject::Gateway]).collect()
}
