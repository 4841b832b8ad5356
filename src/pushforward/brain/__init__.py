"""Decoding brain activity: from voxels to pictures, and how sure that is.

Ridge maps from voxels to the latent of a picture and to its class, learned within the training trials; then draws by a
generative model that was trained on other pictures, either from the noised latent (Takagi & Nishimoto 2023) or of the
exact posterior given what ridge says.
"""

from pushforward.brain.components import Components
from pushforward.brain.controls import permuted, permuted_ridge, retrieved, training_mean
from pushforward.brain.decode import Decoded, Learned, Settings, Study, decode, learn, study
from pushforward.brain.decoder import Decoder, Told, fit_decoder, one_hot
from pushforward.brain.measured import GaussianLaw, Measured, gaussian_posterior
from pushforward.brain.noised import denoise_from, noised_levels
from pushforward.brain.prior import FirstStage, Prior, Whole, check_stimuli
from pushforward.brain.ridge import Ridge, fit_ridge
from pushforward.brain.scores import Null, Score, null, score
from pushforward.brain.strength import Choice, choose_strength
from pushforward.brain.trials import Recording, Trials
from pushforward.brain.ways import Exact, Noised, Task, Way

__all__ = [
    "Choice",
    "Components",
    "Decoded",
    "Decoder",
    "Exact",
    "FirstStage",
    "GaussianLaw",
    "Learned",
    "Measured",
    "Noised",
    "Null",
    "Prior",
    "Recording",
    "Ridge",
    "Score",
    "Settings",
    "Study",
    "Task",
    "Told",
    "Trials",
    "Way",
    "Whole",
    "check_stimuli",
    "choose_strength",
    "decode",
    "denoise_from",
    "fit_decoder",
    "fit_ridge",
    "gaussian_posterior",
    "learn",
    "noised_levels",
    "null",
    "one_hot",
    "permuted",
    "permuted_ridge",
    "retrieved",
    "score",
    "study",
    "training_mean",
]
