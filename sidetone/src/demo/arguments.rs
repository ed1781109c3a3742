use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use simulator::{Account, Audio, CallPlan, Codec, Shape};
use transcriber::config::{Config, GrpcSettings, Settings};
use transcriber::recogniser::ModelSource;

use super::Printer;
use crate::config::find_model;

/// What can be asked of the demo.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// End when the call's last caption is final
    #[arg(long)]
    once: bool,
    /// Print one caption event per line as JSON, and nothing else, on stdout
    #[arg(long)]
    json: bool,
    /// What the customer says: a WAV file, 16-bit mono (default: the bundled call)
    #[arg(long, value_name = "FILE", requires = "agent")]
    customer: Option<PathBuf>,
    /// What the agent says
    #[arg(long, value_name = "FILE", requires = "customer")]
    agent: Option<PathBuf>,
    /// How RingCentral sends the parties' audio: two-legs, two-media or mixed
    #[arg(long, default_value_t = Shape::TwoLegs)]
    shape: Shape,
    /// What the audio is coded with: opus or pcmu
    #[arg(long, default_value_t = Codec::Opus)]
    codec: Codec,
    /// Share of the audio's packets that get lost, 0 to 100
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f32,
    /// The Whisper model: demo-en, a name that was pulled, or a file in ggml format
    #[arg(long, value_name = "FILE", default_value = ModelSource::BUILT_IN)]
    model: String,
    /// Who recognises, the first to be asked first: whisper, grpc, openai. As in docs/recognisers.md
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "whisper")]
    backends: Vec<String>,
    /// The backend `grpc`
    #[arg(long, value_name = "ADDRESS", default_value = "grpc://127.0.0.1:50051")]
    grpc: String,
    /// Port of the page on 127.0.0.1 (default: a free one)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
}

/// What was asked of the demo, checked: files are read, the model is there.
#[derive(Clone, Debug)]
pub struct DemoPlan {
    /// What is played.
    pub call: CallPlan,
    /// It is the call whose words are known.
    pub bundled: bool,
    /// Who recognises.
    pub transcriber: Settings,
    /// Port of the page, or 0.
    pub port: u16,
    /// End with the call.
    pub once: bool,
    /// For everything that the stand-in leaves to chance.
    pub seed: u64,
}

impl DemoArguments {
    /// Checks what was asked for.
    pub fn plan(&self) -> anyhow::Result<DemoPlan> {
        if !(0.0..=100.0).contains(&self.loss) {
            bail!("--loss {} is not a percentage: say 0 to 100", self.loss);
        }
        let (customer, agent) = match (&self.customer, &self.agent) {
            (Some(customer), Some(agent)) => (Audio::from_wav(customer)?, Audio::from_wav(agent)?),
            _ => (Audio::demo_customer(), Audio::demo_agent()),
        };
        Ok(DemoPlan {
            call: demo_call(self.shape, self.codec, self.loss, customer, agent),
            bundled: self.customer.is_none(),
            transcriber: self.transcriber()?,
            port: self.port,
            once: self.once,
            seed: rand::random(),
        })
    }

    fn transcriber(&self) -> anyhow::Result<Settings> {
        let mut settings = Settings {
            backends: self.backends.clone(),
            grpc: GrpcSettings { address: self.grpc.clone() },
            model: self.model.clone(),
            ..Settings::default()
        };
        find_model(&mut settings)?;
        Config::try_from(settings.clone())?;
        Ok(settings)
    }

    /// What shows the captions.
    pub fn printer(&self) -> Printer {
        if self.json { Printer::json() } else { Printer::people() }
    }
}

impl DemoPlan {
    /// The bundled call, once.
    pub fn bundled(shape: Shape, codec: Codec, seed: u64) -> Self {
        Self {
            call: demo_call(shape, codec, 0.0, Audio::demo_customer(), Audio::demo_agent()),
            bundled: true,
            transcriber: Settings::default(),
            port: 0,
            once: true,
            seed,
        }
    }
}

fn demo_call(shape: Shape, codec: Codec, loss: f32, customer: Audio, agent: Audio) -> CallPlan {
    let agents = Account::demo().agents;
    let agent_extension_id =
        agents.into_iter().next().map(|agent| agent.extension_id).unwrap_or_default();
    let plan = CallPlan::new(&agent_extension_id, customer, agent);
    CallPlan { shape, codec, loss_percent: loss, ..plan }
}
