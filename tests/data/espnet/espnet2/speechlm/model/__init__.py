"""As in ESPnet, importing anything below imports the job."""

from espnet2.speechlm.model.speechlm.speechlm_job import Job

_all_job_types = {"speechlm": Job}
