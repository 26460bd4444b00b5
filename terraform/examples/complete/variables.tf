variable "region" {
  description = "AWS region of everything here."
  type        = string
  default     = "eu-central-1"
}

variable "name" {
  description = "The mesh's name; begins the names of everything."
  type        = string
  default     = "picket"
}

variable "zones" {
  description = "Availability zones of the region."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b"]
}

variable "ami_id" {
  description = "Machine image of all hosts: an own copy of Debian 12 or Amazon Linux 2023 (`aws ec2 copy-image`), so that the sentries' rule means it alone."
  type        = string
}

variable "former_ami_ids" {
  description = "Images from which sentries may still join while they are replaced by those of another `ami_id`; empty again afterwards."
  type        = list(string)
  default     = []
}

variable "release" {
  description = "URL and SHA-256 of a .tar.gz with Picket's programs; null where the image has them."
  type        = object({ url = string, sha256 = string })
  default     = null
}

variable "ca_fingerprint" {
  description = "Fingerprint of the mesh's CA. Null at the first apply, which makes the controller; then what the controller says, and sentries come up."
  type        = string
  default     = null
}

variable "aws_certificates" {
  description = "AWS's certificate called \"RSA\" for the region, in PEM, by region: from the EC2 user guide."
  type        = map(string)
}

variable "admin_networks" {
  description = "Your own networks, let in to every guarded port."
  type        = list(string)
}

variable "extra_configuration" {
  description = "Further TOML of the controller's configuration, as `[[policy.hidden]]` for a validator that hides behind the sentries. No secrets."
  type        = string
  default     = ""
}

variable "rpc_networks" {
  description = "Who may reach port 9000 through the sentries' balancer beside those whom each sentry's own firewall lets in, by network, and why. Empty: nobody."
  type        = map(string)
  default     = {}
}

variable "setup" {
  description = "Shell commands run as root on each sentry at its first boot, before the agent: to start an ICON node of yours there. No secrets."
  type        = string
  default     = ""
}

variable "node_url" {
  description = "The ICON node on each sentry, where `setup` starts one, as http://127.0.0.1:9080; null for none."
  type        = string
  default     = null
}

variable "several" {
  description = "Two controllers in two zones on a PostgreSQL database of RDS, in place of one on SQLite: one may be lost, or worked on, and changes still come through."
  type        = bool
  default     = false
}

variable "hooks" {
  description = "Public name of the hook API, its certificate in ACM and its zone in Route 53 (null: make the record yourself). Null: no hooks; instances that go are then found by their leases, or say goodbye themselves."
  type        = object({ host = string, certificate_arn = string, zone_id = optional(string) })
  default     = null
}

variable "validator" {
  description = "Whether a host for a validator is made too. Most validators are elsewhere already, and join from there."
  type        = bool
  default     = false
}

variable "alarm_address" {
  description = "Mail address that is told of alarms; null for none."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether load balancers, database and backups refuse to be destroyed, and volumes outlive their instances. Instances refuse it to everybody but Terraform: read what a plan destroys. Switch it off and apply before `terraform destroy`."
  type        = bool
  default     = true
}
