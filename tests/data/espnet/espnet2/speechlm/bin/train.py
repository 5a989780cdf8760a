"""Says whose class a job would take."""

from espnet2.speechlm.model.speechlm.speechlm_job import _multimodal_ios

if __name__ == "__main__":
    print(f"trains with {_multimodal_ios['continuous_audio'].__module__}")
