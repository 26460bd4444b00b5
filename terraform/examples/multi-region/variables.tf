variable "regions" {
  description = "The two regions; the controller and the first sentries are in `home`. For more, copy the blocks of `away`: a provider of Terraform cannot be counted."
  type        = object({ home = string, away = string })
  default     = { home = "eu-central-1", away = "us-east-1" }

  validation {
    condition     = var.regions.home != var.regions.away
    error_message = "regions.home and regions.away are the same; see examples/complete for one region."
  }
}

variable "zones" {
  description = "Availability zones of each."
  type        = object({ home = list(string), away = list(string) })
  default     = { home = ["eu-central-1a", "eu-central-1b"], away = ["us-east-1a", "us-east-1b"] }
}

variable "ami_ids" {
  description = "Machine image in each region, with Picket's programs in it."
  type        = object({ home = string, away = string })
}

variable "ca_fingerprint" {
  description = "Fingerprint of the mesh's CA; null at the first apply."
  type        = string
  default     = null
}

variable "aws_certificates" {
  description = "AWS's certificate called \"RSA\" for each of the regions, in PEM, by region."
  type        = map(string)
}

variable "hooks" {
  description = "Public name of the hook API, and its certificate in ACM in the home region."
  type        = object({ host = string, certificate_arn = string, zone_id = optional(string) })
}
