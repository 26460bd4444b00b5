variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "zones" {
  description = "Availability zones of the region."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b"]
}

variable "ami_id" {
  description = "Machine image of all hosts, with Picket's programs in it."
  type        = string
}

variable "ca_fingerprint" {
  description = "Fingerprint of the mesh's CA; null at the first apply."
  type        = string
  default     = null
}

variable "aws_certificates" {
  description = "AWS's certificate called \"RSA\" for the region, in PEM, by region."
  type        = map(string)
}
