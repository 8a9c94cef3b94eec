//! What the demo plays on: the simulated world with its people and a gateway in a temporary folder.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use wa_simulator::{LinkedDevice, Phone, World};

use crate::actors::gateway::{Boot, Gateway};
use crate::actors::messages::{AccountStatus, GatewayStatus, GetStatus, LoginStart, LoginStarted};
use crate::clock::Clock;
use crate::config::file::{ConfigSource, Environment};
use crate::store::paths::StatePaths;
use crate::whatsapp::Endpoint;

/// The configuration of the demo, as it lies in the repository.
pub const CONFIG: &str = include_str!("../../../config/demo.json");
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running demo.
pub struct Stage {
    pub world: World,
    pub gateway: Gateway,
    pub config: PathBuf,
    pub work: Phone,
    pub personal: Phone,
    pub ann: Phone,
    pub bob: Phone,
    pub carl: Phone,
    pub group: wa_simulator::Group,
    /// Removed with everything in it when the demo is over.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts the world and the gateway; nothing is linked yet.
    pub async fn start() -> anyhow::Result<Self> {
        let world = World::start().await.context("the simulator cannot be started")?;
        let folder = tempfile::Builder::new().prefix("verso-demo-").tempdir().context("no temporary folder")?;
        let config = folder.path().join("verso.json");
        std::fs::write(&config, CONFIG).with_context(|| format!("cannot write {}", config.display()))?;
        let environment = Environment {
            state_dir: Some(folder.path().to_path_buf()),
            home: Some(folder.path().to_path_buf()),
            ..Environment::default()
        };
        let gateway = Gateway::start(Boot {
            paths: StatePaths::new(folder.path(), None),
            source: ConfigSource::find(&environment),
            endpoint: Endpoint::from_env(Some(world.ws_url()))?,
            clock: Clock::System,
            only: None,
        })
        .await?;
        let (work, personal) = (world.phone("+15550001111"), world.phone("+15550002222"));
        work.set_name("Work");
        personal.set_name("Personal");
        let ann = world.contact("+15557000001", "Ann");
        let bob = world.contact("+15557000002", "Bob");
        let carl = world.contact("+15557000003", "Carl");
        let group = world.group("Friends", &ann, &[&bob, &personal]);
        Ok(Self { world, gateway, config, work, personal, ann, bob, carl, group, _folder: folder })
    }

    /// Ends gateway and world.
    pub async fn stop(self) {
        self.gateway.stop(Duration::from_secs(10)).await;
        self.world.shutdown();
    }

    pub async fn status(&self) -> anyhow::Result<GatewayStatus> {
        self.gateway.port.status.send(GetStatus).await.context("the gateway does not answer")
    }

    /// Waits until `wanted` holds for the status.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&GatewayStatus) -> bool) -> anyhow::Result<GatewayStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await?;
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("waited in vain for {what}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until an account is in a state.
    pub async fn wait_state(&self, account: &str, code: &str) -> anyhow::Result<AccountStatus> {
        let is = |a: &AccountStatus| a.account_id.as_str() == account && a.state == code;
        let status = self.wait(&format!("{account} to be {code}"), |s| s.accounts.iter().any(is)).await?;
        status.accounts.into_iter().find(|a| is(a)).context("just seen")
    }

    /// Asks the gateway for a QR code.
    pub async fn qr(&self, account: &str) -> anyhow::Result<String> {
        let start = LoginStart { account: Some(account.to_owned()), force: false, phone: None, timeout: PATIENCE };
        match self.gateway.port.login_start.send(start).await?? {
            LoginStarted::Qr { code, .. } => Ok(code),
            other => bail!("expected a QR code for {account}, got {other:?}"),
        }
    }

    /// Links an account to a phone and waits until it is connected.
    pub async fn link(&self, account: &str, phone: &Phone) -> anyhow::Result<LinkedDevice> {
        let qr = self.qr(account).await?;
        let device = phone.scan_qr(&qr).await.map_err(|e| anyhow::anyhow!("{account} was not linked: {e}"))?;
        self.wait_state(account, "connected").await?;
        Ok(device)
    }

    /// Everybody who is not an account of the gateway, with the account phones last.
    pub fn people(&self) -> [(&'static str, &Phone); 5] {
        [
            ("ann", &self.ann),
            ("bob", &self.bob),
            ("carl", &self.carl),
            ("work", &self.work),
            ("personal", &self.personal),
        ]
    }
}
