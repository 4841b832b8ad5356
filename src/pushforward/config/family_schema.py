"""The families of models as sections of the configuration: a union by `family`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from pushforward.config.sections import Channels, Fraction, Layers, Levels, Multipliers, PositiveInt, Section, Size


class UNetConfig(Section):
    kind: Literal["unet"] = "unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2)
    blocks: Layers = 2
    attention_at: tuple[NonNegativeInt, ...] | None = None
    dropout: Fraction = 0.0
    recompute: bool = Field(False, description="activations are computed again backwards: less memory, more time")


class SequenceUNetConfig(Section):
    """A U-Net of vectors whose numbers follow one another, such as time series."""

    kind: Literal["sequence-unet"] = "sequence-unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2, 2)
    blocks: Layers = 1
    attention_at: tuple[NonNegativeInt, ...] | None = None
    dropout: Fraction = 0.0
    recompute: bool = False


class DiTConfig(Section):
    """A transformer of patches, of images or of vectors whose numbers follow one another."""

    kind: Literal["dit"] = "dit"
    patch: Channels = 2
    width: Channels = 256
    depth: Layers = 6
    dropout: Fraction = 0.0
    recompute: bool = False


class MagnitudeUNetConfig(Section):
    """A U-Net whose layers keep the size of what passes through them."""

    kind: Literal["magnitude-unet"] = "magnitude-unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2)
    blocks: Layers = 2
    dropout: Fraction = 0.0
    recompute: bool = False


class MLPConfig(Section):
    kind: Literal["mlp"] = "mlp"
    width: Channels = 256
    depth: Layers = 4
    dropout: Fraction = 0.0


class AutoNetworkConfig(Section):
    """Chosen from the shape of the data when the run is made: a U-Net for images, an MLP for vectors and tables."""

    kind: Literal["auto"] = "auto"
    width: Channels | None = Field(None, description="channels or hidden units; chosen from the data when not given")
    dropout: Fraction = 0.0


class CustomNetworkConfig(Section):
    """A network given from Python; a run of it is loaded by passing the network again."""

    kind: Literal["custom"] = "custom"
    name: str


NetworkConfig = Annotated[
    UNetConfig
    | MLPConfig
    | SequenceUNetConfig
    | DiTConfig
    | MagnitudeUNetConfig
    | AutoNetworkConfig
    | CustomNetworkConfig,
    Field(discriminator="kind"),
]


class VPConfig(Section):
    kind: Literal["vp"] = "vp"
    beta_min: Size = 0.1
    beta_max: Size = 20.0


class CosineConfig(Section):
    kind: Literal["cosine"] = "cosine"


class SubVPConfig(Section):
    kind: Literal["subvp"] = "subvp"
    beta_min: Size = 0.1
    beta_max: Size = 20.0


class VEConfig(Section):
    kind: Literal["ve"] = "ve"
    sigma_min: Size = 0.01
    sigma_max: Size = 50.0


class EDMConfig(Section):
    kind: Literal["edm"] = "edm"
    sigma_min: Size = 0.002
    sigma_max: Size = 80.0


class StraightConfig(Section):
    kind: Literal["straight"] = "straight"


class DDPMConfig(Section):
    """An exact table of DDPM levels."""

    kind: Literal["ddpm"] = "ddpm"
    schedule: Literal["linear", "cosine", "sqrt-linear"] = "linear"
    levels: Levels = 1000
    zero_terminal_snr: bool = False


PathConfig = Annotated[
    VPConfig | CosineConfig | SubVPConfig | VEConfig | EDMConfig | StraightConfig | DDPMConfig,
    Field(discriminator="kind"),
]


class DiffusionConfig(Section):
    """A denoiser: diffusion, score-based and flow-matching models."""

    family: Literal["diffusion"] = "diffusion"
    path: PathConfig = EDMConfig()
    prediction: Literal["noise", "data", "v", "score", "flow", "edm"] = "edm"
    sigma_data: Size | None = Field(None, description="the data's standard deviation; measured when not given")
    loss: Literal["simple", "bound", "hybrid"] = Field(
        "simple", description="bound: the variational bound; hybrid: the simple loss, and the bound for the variance"
    )
    learned_variance: bool | None = Field(
        None, description="the network tells Var[x_0 | x_t] too, in as many more channels [with the hybrid loss]"
    )
    times: Literal["log-normal", "uniform", "logit-normal", "loss-aware"] | None = Field(
        None,
        description="law of training times [log-normal; uniform with the bound]; loss-aware: where the loss is large",
    )
    weighting: Literal["output", "noise", "data", "v", "edm", "min-snr", "p2", "likelihood"] = Field(
        "output", description="whose squared error is descended; output: that of what the network predicts"
    )
    network: NetworkConfig = AutoNetworkConfig()
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")
    told: dict[Literal["vector", "tokens", "tokens_mask", "image"], Channels] | None = Field(
        None, description="what it is told beside the class, and of how many numbers or channels [what the data has]"
    )
    condition_dropout: tuple[Fraction, Fraction] = Field(
        (0.1, 0.05),
        description="share of items told nothing at all in training; share of each condition left out alone",
    )
    coupling: Literal["independent", "assignment", "sinkhorn"] = Field(
        "independent", description="which noise goes with which item of a batch, on the straight path"
    )


class CodebookConfig(Section):
    """The codes of vector-quantised latents."""

    count: Annotated[int, Field(ge=2, le=1 << 16)] = 256
    size: Channels = Field(32, description="numbers of a code")
    halvings: Annotated[int, Field(ge=0, le=12)] | None = Field(
        None, description="of images on the way to their codes [2; 1 below 16 pixels]"
    )
    decay: Annotated[float, Field(ge=0, lt=1)] = Field(0.99, description="of the moving averages that codes are")
    revive: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="share of the mean use below which a code is put on an item anew"
    )
    commitment: PositiveFloat = Field(0.25, description="weight that keeps the encoder near the codes")


class VAEConfig(Section):
    """A variational autoencoder."""

    family: Literal["vae"] = "vae"
    latent: Channels | None = Field(None, description="numbers of a latent; chosen from the data when not given")
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [200]")
    hidden: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=32)] | None = Field(
        None, description="widths of perceptrons, layer by layer, for images too"
    )
    likelihood: Literal["auto", "gaussian", "gaussian-each", "discretised-logistic", "bernoulli", "categorical"] = (
        "auto"
    )
    posterior: Literal["diagonal", "full", "iaf", "codes"] = Field(
        "diagonal", description="codes: vector-quantised latents, and a learned law of them"
    )
    prior: Literal["normal", "mixture", "vamp", "flow", "codes"] = "normal"
    components: PositiveInt = Field(32, description="of a mixture, or pseudo-items of a VampPrior")
    beta: PositiveFloat = Field(1.0, description="weight of KL(q‖p); 1 is the evidence bound")
    free_bits: NonNegativeFloat = Field(0.0, description="nats per latent below which KL is not pressed")
    warmup: NonNegativeInt = Field(0, description="training items over which the weight of KL rises to beta")
    samples: PositiveInt = Field(1, description="more than 1: the importance-weighted bound of so many draws")
    codebook: CodebookConfig = Field(CodebookConfig(), description="of vector-quantised latents, posterior codes")
    conditional: bool = Field(True, description="learn the labels, where the data has them")


class EnergyConfig(Section):
    """An energy model: p = exp(−f)/Z."""

    family: Literal["energy"] = "energy"
    matching: Literal["denoising", "sliced", "sliced-reduced", "explicit", "finite-difference"] = Field(
        "denoising", description="denoising: an energy at every noise level; the others: one energy of clean data"
    )
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [128]")
    depth: Layers = Field(3, description="of the perceptrons of vectors")
    multipliers: Multipliers | None = Field(None, description="widths of the resolutions of images")
    blocks: Layers = Field(1, description="at each resolution of images")
    sigma_min: Size | None = Field(
        None, description="the smallest noise, whose energy is the density [0.02 for images, 0.05 for tables]"
    )
    sigma_max: Size = 80.0
    sigma_data: Size | None = Field(None, description="the data's standard deviation; measured when not given")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")


class FlowConfig(Section):
    """A normalizing flow."""

    family: Literal["flow"] = "flow"
    width: Channels | None = Field(None, description="channels for images [64], hidden units of two layers else [128]")
    layers: Layers | None = Field(None, description="transforms of vectors [5], steps at each level of images [4]")
    levels: Annotated[int, Field(ge=0, le=12)] | None = Field(None, description="halvings of images")
    autoregressive: bool = Field(True, description="of vectors: better densities, slower samples than by couplings")
    conditional: bool = Field(True, description="learn the labels, where the data has them")


class GANConfig(Section):
    """A generator trained against a discriminator."""

    family: Literal["gan"] = "gan"
    latent: Channels | None = Field(None, description="numbers of a latent; chosen from the data when not given")
    width: Channels | None = Field(None, description="channels for images [64], hidden units else [128]")
    loss: Literal["relativistic", "non-saturating", "minimax", "least-squares", "hinge", "wasserstein"] = "relativistic"
    gamma: Size | None = Field(
        None, description="weight of R1 and R2 in the beginning [0.1], or of wasserstein's gradient penalty [10]"
    )
    gamma_end: Size | None = Field(
        None, description="weight of R1 and R2 at the end, reached geometrically [0.01 for images, else 0.0003]"
    )
    augment: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="how often the discriminator sees each image changed, for small data; 0.5 is usual"
    )
    conditional: bool = Field(True, description="learn the labels, where the data has them")


class DiscreteConfig(Section):
    """Diffusion of symbols: texts, whole numbers, categories."""

    family: Literal["discrete"] = "discrete"
    rates: Literal["auto", "absorbing", "uniform", "birth-death", "gaussian"] = Field(
        "auto", description="how symbols are corrupted [absorbing: hidden by a mask]"
    )
    width: Channels | None = Field(None, description="of the transformer [128], U-Net [32] or perceptron [128]")
    depth: Layers | None = Field(None, description="blocks of the network [4 of texts, 1 of images, 3 of rows]")
    dropout: Fraction = 0.0
    timed: bool | None = Field(None, description="the network is told the time [only where symbols are not masked]")
    by_count: bool = Field(True, description="symbols are masked by their number; false: by a random time")
    auxiliary: NonNegativeFloat = Field(0.0, description="weight of the cross-entropy beside the bound")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")


class MixedConfig(Section):
    """Gaussian and discrete diffusion together, of tables with numbers and categories."""

    family: Literal["mixed"] = "mixed"
    rates: Literal["absorbing", "uniform"] = Field("absorbing", description="how categories are corrupted")
    width: Channels | None = Field(None, description="of the perceptron [256]")
    depth: Layers | None = Field(None, description="blocks of the perceptron [4]")
    dropout: Fraction = 0.0
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")


class CardConfig(Section):
    """A regression or classification with its uncertainty (CARD)."""

    family: Literal["card"] = "card"
    setting: Literal["usual", "published"] = Field("usual", description="published: as in the paper's experiments")
    width: Channels = 128
    depth: Layers = 2
    dropout: Fraction = Field(0.1, description="of the network")
    mean_dropout: Fraction = Field(
        0.0, description="of f in the published setting, where it differs from table to table"
    )
    levels: Levels = 1000
    folds: Annotated[int, Field(ge=2, le=50)] = Field(5, description="that f is cross-fitted in")
    small: bool | None = Field(None, description="whether f may be fitted by what takes long on many rows")
    conditional: bool = Field(False, description="always false: features are no labels")


class KLStageConfig(Section):
    """An autoencoder with a little KL, trained before the latent model."""

    kind: Literal["kl"] = "kl"
    channels: Channels | None = Field(None, description="of the map of latents [4], or numbers of a vector's latent")
    halvings: Annotated[int, Field(ge=0, le=12)] | None = Field(None, description="of images [2; 1 below 16 pixels]")
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [200]")
    blocks: Layers = Field(1, description="residual blocks of each resolution")
    weight: NonNegativeFloat = Field(1e-6, description="of KL, summed over a latent")
    adversary: NonNegativeFloat = Field(0.0, description="weight of a critic of patches, 0 for none; 0.5 is usual")
    adversary_start: Fraction = Field(0.5, description="share of its training after which the critic acts")
    steps: PositiveInt = Field(3000, description="that it is trained for")
    minutes: PositiveFloat | None = Field(None, description="train it for about this long instead")
    random: bool = Field(True, description="the latent model learns draws of q(z | x), not its means")


class VQStageConfig(Section):
    """An autoencoder with a codebook, trained before the latent model, which learns what is not yet quantised."""

    kind: Literal["vq"] = "vq"
    channels: Channels | None = Field(None, description="numbers of a code [4]")
    codes: Annotated[int, Field(ge=2, le=1 << 16)] = 256
    halvings: Annotated[int, Field(ge=0, le=12)] | None = Field(None, description="of images [2; 1 below 16 pixels]")
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [200]")
    blocks: Layers = Field(1, description="residual blocks of each resolution")
    book: Literal["averages", "gradient"] = Field("averages", description="how codes are learned")
    commitment: PositiveFloat = Field(0.25, description="weight that keeps the encoder near the codes")
    published: bool = Field(False, description="that weight on the codes' side, as VQGAN was trained; book gradient")
    adversary: NonNegativeFloat = Field(0.0, description="weight of a critic of patches, 0 for none; 0.5 is usual")
    adversary_start: Fraction = Field(0.5, description="share of its training after which the critic acts")
    steps: PositiveInt = Field(3000, description="that it is trained for")
    minutes: PositiveFloat | None = Field(None, description="train it for about this long instead")


class PCAStageConfig(Section):
    """Principal components, in closed form."""

    kind: Literal["pca"] = "pca"
    components: PositiveInt | None = Field(None, description="how many [32, at most half of an item's numbers]")


class RunStageConfig(Section):
    """An autoencoder trained before, of the family vae, whose weights are stored with the run that uses it."""

    kind: Literal["run"] = "run"
    path: str = Field("", description="the folder of its run")
    autoencoder: VAEConfig | None = Field(None, description="what it is; read from that run")


FirstStageConfig = Annotated[
    KLStageConfig | VQStageConfig | PCAStageConfig | RunStageConfig, Field(discriminator="kind")
]
LatentsConfig = Annotated[DiffusionConfig | FlowConfig | DiscreteConfig, Field(discriminator="family")]


class LatentConfig(Section):
    """A model of the latents of an autoencoder, such as latent diffusion."""

    family: Literal["latent"] = "latent"
    first_stage: FirstStageConfig = KLStageConfig()
    inner: LatentsConfig = Field(DiffusionConfig(), description="the model of latents")
    conditional: bool = Field(True, description="learn the labels, where the data has them")


ModelConfig = Annotated[
    DiffusionConfig
    | FlowConfig
    | VAEConfig
    | GANConfig
    | EnergyConfig
    | DiscreteConfig
    | MixedConfig
    | CardConfig
    | LatentConfig,
    Field(discriminator="family"),
]
"""What is trained: one section per family."""
